"""A mask on the grid of its image."""

import numpy as np

from medjax.data import geometry
from medjax.data.found import RawImage
from medjax.errors import UserError

_APART_STEP = 0.01  # voxels of the mask that a step of the image may differ from one axis by
_APART_MM = 0.1  # that the affines of an image and its mask may differ by


def turned_like(raw_image: RawImage, raw_mask: RawImage) -> RawImage:
    """The mask in the order of axes of its image, where their affines say that it has another: as a
    mask in NIfTI beside a DICOM series has."""
    pixels, is_slice = _with_depth(raw_mask)
    if raw_image.affine is None or raw_mask.affine is None or pixels.ndim != 4:
        return raw_mask
    to_mask = np.eye(4)
    steps = np.linalg.solve(raw_mask.affine[:3, :3], raw_image.affine[:3, :3])
    to_mask[:3, :3] = np.rint(steps)
    if not geometry.is_reordering(to_mask) or np.abs(steps - to_mask[:3, :3]).max() > _APART_STEP:
        return raw_mask
    backwards = to_mask[:3, :3].sum(1) < 0
    to_mask[:3, 3] = np.where(backwards, np.array(pixels.shape[:3]) - 1, 0)
    turned = geometry.reorder(pixels, np.linalg.inv(to_mask))
    if is_slice and turned.shape[2] != 1:
        return raw_mask  # of another plane
    turned = turned[:, :, 0] if is_slice else turned
    return raw_mask._replace(pixels=turned, affine=raw_mask.affine @ to_mask)


def _with_depth(raw_image: RawImage) -> tuple[np.ndarray, bool]:
    """Pixels `[*space, channel]`, of a slice that lies in space with a third axis of one voxel; and
    whether it is such a slice."""
    pixels, affine = raw_image.pixels, raw_image.affine
    is_slice = affine is not None and len(affine) == 4 and pixels.ndim == 3
    return (pixels[:, :, None] if is_slice else pixels), is_slice


def check_one_grid(raw_image: RawImage, raw_mask: RawImage, *, origin: str) -> None:
    """Raises UserError unless image and mask have one shape and lie at one place."""
    shapes = raw_image.pixels.shape[:-1], raw_mask.pixels.shape[:-1]
    if shapes[0] != shapes[1]:
        sizes = [" x ".join(map(str, shape)) for shape in shapes]
        raise UserError(
            f"{origin}: the mask has {sizes[1]} voxels, its image {sizes[0]}; "
            + (
                "one of the two was turned, as by the EXIF of a photograph: save both as shown"
                if shapes[0] == shapes[1][::-1]
                else "resample it onto the grid of the image by the nearest voxel"
            )
        )
    if raw_mask.pixels.shape[-1] != 1 and (raw_mask.pixels != raw_mask.pixels[..., :1]).any():
        raise UserError(
            f"{origin}: a mask in colours; write its values as gray levels 0, 1, 2, ..."
        )
    if raw_image.affine is None or raw_mask.affine is None:
        return
    sides = _with_depth(raw_image)[0].shape[:-1]
    corners = np.array(np.meshgrid(*((0, n - 1) for n in sides))).reshape(len(sides), -1).T
    if len(raw_image.affine) != corners.shape[1] + 1:
        return
    apart = np.linalg.norm(
        geometry.apply(raw_image.affine, corners) - geometry.apply(raw_mask.affine, corners), axis=1
    ).max()
    if apart > _APART_MM:
        raise UserError(
            f"{origin}: lies up to {apart:.3g} mm from its image, by the affines of the two; write "
            "the affine of the image into the mask, or resample it"
        )

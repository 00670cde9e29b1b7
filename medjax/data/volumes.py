"""Images of a split as search needs them: at several scales, each in a corner of one array."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medjax.data import geometry
from medjax.data.source import Split
from medjax.errors import UserError


class Packed(NamedTuple):
    """n images, padded to one shape; the fields are those of `envs.search.Volumes`.

    Attributes:
      pixels: `[scale, n, *space]`, as stored, but smoothed and combed for each scale.
      tooth: `[scale, ndim]`; `room`: as of `comb`.
      shape: `[n, ndim]`, of the images.
      first: `[n, ndim]`, the voxel of the split's array with which they begin.
    """

    pixels: np.ndarray
    tooth: np.ndarray
    room: int
    shape: np.ndarray
    first: np.ndarray


def pack(split: Split, *, spacing: Sequence[int], room: int) -> Packed:
    """The images of a split at scales of so many voxels.

    A scale of s voxels is smoothed by a Gaussian of s / 2 voxels, and keeps its resolution.
    """
    first, beyond = np.moveaxis(split["box"], 1, 0)
    shape = beyond - first
    if split.image_shape[-1] != 1:
        raise UserError(f"search is for images with one channel; these have "
                        f"{split.image_shape[-1]}")
    tooth = np.stack([tooth_of(shape.max(0), spacing=s, room=room) for s in spacing])
    size = (tooth * np.array(spacing)[:, None] + room).max(0)
    pixels = np.zeros((len(spacing), len(split), *size), split.image_dtype)
    for i in range(len(split)):
        corner = tuple(slice(a, b) for a, b in zip(first[i], beyond[i], strict=True))
        image = split.read(i)[..., 0][corner].astype(np.float32)
        for level, s in enumerate(spacing):
            smooth = np.rint(ndimage.gaussian_filter(image, s / 2 if s > 1 else 0.0))
            comb(smooth, pixels[level, i], spacing=s, tooth=tooth[level], room=room)
    return Packed(pixels, tooth, room, shape, first)


def tooth_of(shape: np.ndarray, *, spacing: int, room: int) -> np.ndarray:
    """How far apart the teeth begin for images up to `shape`."""
    return -(-shape // spacing) + room


def comb(image: np.ndarray, into: np.ndarray, *, spacing: int, tooth: np.ndarray, room: int
         ) -> None:
    """Writes an image so that voxels `spacing` apart lie side by side.

    Along each axis, voxel x stands at `room + (x mod spacing) tooth + x div spacing`. So what an
    agent sees, at whatever scale, is one block of memory, which is copied ten times faster than
    voxels are gathered one by one; and as teeth are `room` apart, nothing need be masked at the
    image's sides.
    """
    places = [room + (x % spacing) * t + x // spacing
              for x, t in zip(map(np.arange, image.shape), tooth, strict=True)]
    into[np.ix_(*places)] = image


def voxel_mm(split: Split) -> float:
    """The size of a voxel; raises UserError unless it is the same for all axes and images."""
    sizes = np.array([geometry.spacing_mm(a) for a in split["to_world"]])
    if np.ptp(sizes) > 0.01 * sizes.min():
        raise UserError(f"voxels have {sizes.min():.3g} to {sizes.max():.3g} mm; steps of one "
                        "length need one size: give --grid_mm")
    return float(sizes.mean())

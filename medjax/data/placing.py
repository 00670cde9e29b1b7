"""Images and frames brought onto the grid of their set, and how to come back from there."""

from typing import NamedTuple

import numpy as np

from medjax.data import geometry, images
from medjax.data.found import RawImage, known_spacing
from medjax.errors import UserError


class Placed(NamedTuple):
    """An image in 8 bits on a grid.

    Attributes:
      image: `[*space, channel]`, uint8.
      to_index: affine from voxels of it to indices of the stored array; `to_file` to x, y[, z] of
        the file; `to_world` to mm of the world.
      box: the first voxel that lies in the image and the first beyond; the rest is padding.
    """

    image: np.ndarray
    to_index: np.ndarray
    to_file: np.ndarray
    to_world: np.ndarray
    box: np.ndarray


class Turn(NamedTuple):
    """How an image is turned.

    Attributes:
      to_common: rigid affine from the image's world to the common one.
      grid: affine from voxels of the prepared image to the common world.
    """

    to_common: np.ndarray
    grid: np.ndarray


def place(
    raw_image: RawImage,
    world: np.ndarray,
    *,
    shape: tuple[int, ...],
    grid_mm: float,
    window: tuple[float, ...],
    turn: Turn | None = None,
) -> Placed:
    """Brings an image onto a grid of `shape` about the same centre, volumes into RAS order.

    Args:
      world: affine from indices of the stored array to the world, as `world_of` gives it.
      grid_mm: size of a voxel; 0: as fine as holds the whole image.
      window: intensities that become black and white; empty: percentiles of the image.
      turn: where the image is not to stay as it is.
    """
    ndim = raw_image.pixels.ndim - 1
    pixels, stored = raw_image.pixels, np.eye(ndim + 1)
    if ndim == 3 and raw_image.affine is not None:
        pixels, stored = geometry.canonical(pixels, world)
    if turn is None:
        spacing = geometry.spacing_mm(world @ stored)
        back = geometry.fitted(pixels.shape[:-1], spacing, shape=shape, grid_mm=grid_mm)
    else:
        back = np.linalg.inv(turn.to_common @ world @ stored) @ turn.grid
    image = geometry.resample(images.eight_bits(pixels, window), back, shape=shape)
    to_index = stored @ back
    return Placed(
        image,
        to_index,
        file_order(raw_image) @ to_index,
        world @ to_index,
        geometry.covered(pixels.shape[:-1], back, shape=shape),
    )


def place_frames(
    frames: np.ndarray,
    spacing_mm: tuple[float, float] | None,
    *,
    shape: tuple[int, int],
    grid_mm: float,
    window: tuple[float, ...],
    origin: str,
) -> np.ndarray:
    """The frames of a sequence in 8 bits, each of the shape, about the same centre.

    Args:
      frames: `[time, height, width, channel]`.
      spacing_mm: of a pixel, height and width; None where it is not known.
      grid_mm: size of a pixel then; 0: scaled to fit.

    Raises:
      UserError: if the grid asks for a size, and that of the frames is not known.
    """
    if grid_mm and spacing_mm is None:
        raise UserError(
            f"{origin}: the size of its pixels is not known; give `image_shape` "
            "without `grid_mm`, and each frame is scaled to fit, or to predict by "
            "`spacing_mm`"
        )
    eight = images.eight_bits(frames, window)
    size = eight.shape[1:3]
    square = spacing_mm is None or np.ptp(spacing_mm) <= 0.01 * min(spacing_mm)
    if size == shape and square and not grid_mm:
        return eight
    spacing = np.array(spacing_mm or (1.0, 1.0))  # pixels count as square where not known
    back = geometry.fitted(size, spacing, shape=shape, grid_mm=grid_mm)
    return np.stack([geometry.resample(f, back, shape=shape) for f in eight])


def world_of(raw_image: RawImage, *, spacing_mm: float | None, origin: str) -> np.ndarray:
    """From indices of the stored array to the world.

    Args:
      spacing_mm: of every axis, where the file does not tell it.

    Raises:
      UserError: if neither does, or the file's affine is none.
    """
    ndim = raw_image.pixels.ndim - 1
    _check_agree(raw_image.spacing_mm, spacing_mm, origin)
    if raw_image.affine is not None and len(raw_image.affine) == ndim + 1:
        geometry.check_affine(raw_image.affine, origin=origin)
        return raw_image.affine
    if raw_image.axes == "xyz":
        raise UserError(
            f"{origin}: states no orientation (neither sform nor qform has a code), so "
            "where its points lie in the world is not known; write one, such as by "
            "3D Slicer"
        )
    known = raw_image.spacing_mm if known_spacing(raw_image.spacing_mm) else None
    spacing = known or ((spacing_mm,) * ndim if spacing_mm else None)
    if spacing is None:
        raise UserError(
            f"{origin}: the size of its pixels is not known; give it in mm, in the "
            "column spacing_mm of landmarks.csv or metadata.csv (`spacing_column`), "
            "or to predict by `spacing_mm`"
        )
    return file_order(raw_image) @ geometry.scaling(np.array(spacing), np.zeros(ndim))


def _check_agree(
    stated_mm: tuple[float, ...] | None, spacing_mm: float | None, origin: str
) -> None:
    """Raises UserError if a file and a table say different sizes of some axis."""
    stated = [s for s in stated_mm or () if np.isfinite(s)]
    if spacing_mm and any(not 0.99 * spacing_mm <= s <= 1.01 * spacing_mm for s in stated):
        raise UserError(
            f"{origin}: its file says pixels of {' x '.join(f'{s:g}' for s in stated)} "
            f"mm, its table or `spacing_mm` {spacing_mm:g} mm; mend the wrong one"
        )


def file_order(raw_image: RawImage) -> np.ndarray:
    """From indices of the stored array to x, y[, z] of the file."""
    order = [raw_image.axes.index(a) for a in sorted(raw_image.axes)]
    return np.eye(len(order) + 1)[[*order, len(order)]]

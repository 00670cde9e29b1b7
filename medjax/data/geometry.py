"""Voxel and world coordinates, and how an image is brought onto another grid.

A voxel position is an index into the array, voxel centres at whole numbers. A file position is
(x, y[, z]) of the stored image: column, row and page of a picture, i, j and k of a NIfTI volume.
A world position is in millimetres: of a volume RAS (to the right, to the front, upwards), of a
picture to the right and downwards from its first pixel. An affine is `[ndim + 1, ndim + 1]`.
"""

import numpy as np

from medjax.errors import UserError

SYSTEMS = ("RAS", "LPS")


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where `affine` takes `points` `[..., ndim]`."""
    return points @ affine[:-1, :-1].T + affine[:-1, -1]


def ras(points_mm: np.ndarray, system: str) -> np.ndarray:
    """World points `[..., 3]`, given as RAS or LPS, as RAS; the same call leads back."""
    if system not in SYSTEMS:
        raise ValueError(f"{system!r}: known are {', '.join(SYSTEMS)}")
    return points_mm * (np.array([-1.0, -1.0, 1.0]) if system == "LPS" else 1.0)


def spacing_mm(affine: np.ndarray) -> np.ndarray:
    """The size of a voxel along each axis of the array: `[ndim]`."""
    return np.sqrt((affine[:-1, :-1] ** 2).sum(0))


def check_affine(affine: np.ndarray, *, origin: str) -> None:
    """Raises UserError unless the affine is finite and can be inverted."""
    size = spacing_mm(affine)
    if not np.isfinite(affine).all() or (size <= 0).any() or (
            abs(np.linalg.det(affine[:-1, :-1])) < 1e-6 * size.prod()):
        raise UserError(f"{origin}: its affine cannot be inverted; write a valid one")


def scaling(factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The affine `factor * x + offset`."""
    out = np.diag([*factor, 1.0])
    out[:-1, -1] = offset
    return out


def reversal(shape: tuple[int, ...], order: tuple[int, ...], flip: tuple[bool, ...]) -> np.ndarray:
    """From indices of a reordered array to those of an array of `shape`.

    Axis a of the new array is axis `order[a]` of the old, backwards where `flip[a]`.
    """
    out = np.zeros((len(shape) + 1,) * 2)
    out[-1, -1] = 1.0
    for a, (source, back) in enumerate(zip(order, flip, strict=True)):
        out[source, a] = -1.0 if back else 1.0
        out[source, -1] = shape[source] - 1.0 if back else 0.0
    return out


def canonical(pixels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The volume `[i, j, k, channel]` with its axes as near to right, front and up as they go.

    Returns:
      The array, and the affine from its indices to those of `pixels`.
    """
    from nibabel import orientations

    now = orientations.io_orientation(affine)
    order = tuple(int(a) for a in np.argsort(now[:, 0]))
    flip = tuple(bool(now[a, 1] < 0) for a in order)
    back = reversal(pixels.shape[:-1], order, flip)
    turned = pixels.transpose(*order, pixels.ndim - 1)
    return np.flip(turned, tuple(a for a, f in enumerate(flip) if f)), back


def fit(pixels: np.ndarray, spacing: np.ndarray, *, shape: tuple[int, ...], grid_mm: float
        ) -> tuple[np.ndarray, np.ndarray]:
    """The image `[*space, channel]` on a grid of `shape` with cubic voxels, about the same centre.

    Args:
      spacing: of the image, mm.
      grid_mm: of the grid; what lies beyond it is cut off. 0: as fine as holds the whole image.

    Returns:
      The array (linearly interpolated, smoothed first where it gets coarser, lowest value outside),
      and the affine from its indices to those of `pixels`.
    """
    from scipy import ndimage

    size, goal = np.array(pixels.shape[:-1], float), np.array(shape, float)
    factor = (grid_mm or (size * spacing / goal).max()) / spacing
    back = scaling(factor, (size - 1) / 2 - factor * (goal - 1) / 2)
    values = pixels.astype(np.float32)
    values = ndimage.gaussian_filter(values, [*np.maximum(0.0, (factor - 1) / 2), 0.0])
    out = np.stack([
        ndimage.affine_transform(values[..., c], factor, back[:-1, -1], output_shape=shape, order=1,
                                 mode="constant", cval=float(values[..., c].min()))
        for c in range(pixels.shape[-1])], -1)
    out = np.rint(out) if pixels.dtype.kind == "u" else out
    return out.astype(pixels.dtype), back

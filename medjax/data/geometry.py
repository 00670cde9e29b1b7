"""Voxel and world coordinates, and how an image is brought onto another grid.

A voxel position is an index into the array, voxel centres at whole numbers. A file position is
(x, y[, z]) of the stored image: column, row and page of a picture, i, j and k of a NIfTI volume.
A world position is in millimetres: of a volume RAS (to the right, to the front, upwards), of a
picture to the right and downwards from its first pixel. An affine is `[ndim + 1, ndim + 1]`.
"""

import itertools

import numpy as np

from medjax.errors import UserError

SYSTEMS = ("RAS", "LPS")
_INWARDS = 1 - 1e-10


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where `affine` takes `points` `[..., ndim]`."""
    return points @ affine[:-1, :-1].T + affine[:-1, -1]


def apply_each(affines: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where each of n affines takes its own of `points` `[n, ..., ndim]`."""
    return np.stack([apply(a, p) for a, p in zip(affines, points, strict=True)])


def farthest_corner(affine: np.ndarray, shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """The corner voxel, in the world, that is farthest from each of `points` `[..., ndim]` there.

    Args:
      affine: from voxels to the world; shape: of the image.
    """
    corners = apply(affine, np.array([*itertools.product(*((0.0, n - 1.0) for n in shape))]))
    away = np.linalg.norm(points[..., None, :] - corners, axis=-1)
    return corners[away.argmax(-1)]


def inside(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which points `[n, ndim]`, in voxels, lie in an image of this shape; NaN does not."""
    return np.all((points >= -0.5) & (points <= np.array(shape) - 0.5), axis=1)


def ras(points_mm: np.ndarray, system: str) -> np.ndarray:
    """World points `[..., 3]`, given as RAS or LPS, as RAS; the same call leads back."""
    if system not in SYSTEMS:
        raise ValueError(f"{system!r}: known are {', '.join(SYSTEMS)}")
    return points_mm * (np.array([-1.0, -1.0, 1.0]) if system == "LPS" else 1.0)


def voxel_mm(worlds: np.ndarray) -> float:
    """The size of the voxels of images with these affines `[n, ndim + 1, ndim + 1]`.

    Raises:
      UserError: unless it is the same for all axes and images.
    """
    sizes = np.array([spacing_mm(world) for world in worlds])
    if np.ptp(sizes) > 0.01 * sizes.min():
        raise UserError(
            f"voxels have {sizes.min():.3g} to {sizes.max():.3g} mm; steps of one "
            "length need one size: give `grid_mm`"
        )
    return float(sizes.mean())


def spacing_mm(affine: np.ndarray) -> np.ndarray:
    """The size of a voxel along each axis of the array: `[ndim]`."""
    return np.sqrt((affine[:-1, :-1] ** 2).sum(0))


def check_affine(affine: np.ndarray, *, origin: str) -> None:
    """Raises UserError unless the affine is finite and can be inverted."""
    size = spacing_mm(affine)
    if (
        not np.isfinite(affine).all()
        or (size <= 0).any()
        or (abs(np.linalg.det(affine[:-1, :-1])) < 1e-6 * size.prod())
    ):
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


def fitted(
    size: tuple[int, ...], spacing: np.ndarray, *, shape: tuple[int, ...], grid_mm: float
) -> np.ndarray:
    """The affine from a grid of `shape` with cubic voxels to an image about the same centre.

    Args:
      size, spacing: of the image; voxels, mm.
      grid_mm: of the grid; what lies beyond it is cut off. 0: as fine as holds the whole image.
    """
    extent, goal = np.array(size, float), np.array(shape, float)
    factor = (grid_mm or (extent * spacing / goal).max()) / spacing
    return scaling(factor, (extent - 1) / 2 - factor * (goal - 1) / 2)


def covered(size: tuple[int, ...], back: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """The box of a grid of `shape` that an image fills: `[[first, ...], [beyond, ...]]`, int32.

    A voxel whose centre lies beyond the image's outermost ones is half made up, and left out.

    Args:
      size: of the image.
      back: leads from the grid to it.
    """
    corners = np.stack(np.meshgrid(*((0.0, n - 1.0) for n in size)), -1).reshape(-1, len(size))
    there = apply(np.linalg.inv(back), corners)
    low, high = np.ceil(there.min(0) - 1e-6), np.floor(there.max(0) + 1e-6) + 1
    return np.clip([low, high], 0, shape).astype(np.int32)


def resample(pixels: np.ndarray, back: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """The image `[*space, channel]` on a grid of `shape`; `back` leads from it to the image.

    Linearly interpolated, smoothed first where it gets coarser, the lowest value outside.
    """
    from scipy import ndimage

    # A rounded centre of an outermost voxel must not lie beyond it: all move inwards by a trace.
    middle = (np.array(pixels.shape[:-1]) - 1) / 2
    matrix, offset = _INWARDS * back[:-1, :-1], middle + _INWARDS * (back[:-1, -1] - middle)
    # How far one step of the grid, along whichever axis, goes along each axis of the image.
    factor = np.abs(back[:-1, :-1]).max(1)
    values = ndimage.gaussian_filter(
        pixels.astype(np.float32), [*np.maximum(0.0, (factor - 1) / 2), 0.0]
    )
    out = np.stack(
        [
            ndimage.affine_transform(
                values[..., c],
                matrix,
                offset,
                output_shape=shape,
                order=1,
                mode="constant",
                cval=float(values[..., c].min()),
            )
            for c in range(pixels.shape[-1])
        ],
        -1,
    )
    out = np.rint(out) if pixels.dtype.kind in "ui" else out
    return out.astype(pixels.dtype)


def widen(pixels: np.ndarray, back: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[*space, channel]` with the border repeated once, so that the outer half of an
    outermost voxel is of the image too; and `back`, which leads to them, to the wider array."""
    wide = np.pad(pixels, [*[(1, 1)] * (pixels.ndim - 1), (0, 0)], mode="edge")
    return wide, scaling(np.ones(len(back) - 1), np.ones(len(back) - 1)) @ back


def interpolate(values: np.ndarray, back: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """Values `[*space]` on a grid of `shape`, linearly interpolated, the border repeated; `back`
    leads from it to them."""
    from scipy import ndimage

    return ndimage.affine_transform(
        values, back[:-1, :-1], back[:-1, -1], output_shape=shape, order=1, mode="nearest"
    )


def is_reordering(affine: np.ndarray) -> bool:
    """Whether voxels are only put in another order: axes exchanged and turned round."""
    steps = np.abs(affine[:-1, :-1])
    return bool(np.isin(steps, (0.0, 1.0)).all() and (steps.sum(0) == 1).all())


def reorder(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The array `[*space, ...]` in the order of the one that `affine` leads to, where
    `is_reordering(affine)`."""
    matrix = np.rint(affine[:-1, :-1]).astype(int)
    order = [int(np.flatnonzero(row)[0]) for row in matrix]  # which of ours each of theirs is
    rest = range(len(order), array.ndim)
    turned = array.transpose(*order, *rest)
    return np.flip(turned, tuple(a for a, o in enumerate(order) if matrix[a, o] < 0))


def resample_labels(labels: np.ndarray, back: np.ndarray, *, shape: tuple[int, ...]) -> np.ndarray:
    """A mask `[*space]` on a grid of `shape`; `back` leads from it to the mask.

    Where voxels are not only put in another order, each gets the value that has most of it, by
    linear interpolation of each value by itself.
    """
    if is_reordering(back):
        return reorder(labels, np.linalg.inv(back))
    labels, back = widen(labels[..., None], back)
    labels = labels[..., 0]
    values = np.unique(labels)
    best, out = np.zeros(shape, np.float32), np.full(shape, values[0], labels.dtype)
    for value in values:
        share = resample((labels == value).astype(np.float32)[..., None], back, shape=shape)[..., 0]
        out[share > best] = value
        best = np.maximum(best, share)
    return out


def circumference(long: np.ndarray, short: np.ndarray) -> np.ndarray:
    """Of an ellipse with these axes (whole, not half): Ramanujan's second approximation, 1914."""
    total = np.maximum(long + short, np.finfo(float).tiny)
    h = ((long - short) / total) ** 2
    return np.pi / 2 * (long + short) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))


def rigid(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The rotation and shift that bring `points` `[n, ndim]` nearest to `onto`, as an affine.

    Least squares (Kabsch 1976) over the pairs that both have; NaN is missing.

    Raises:
      ValueError: if fewer than `ndim` pairs are known.
    """
    known = ~np.isnan(points + onto).any(1)
    ndim = points.shape[1]
    if known.sum() < ndim:
        raise ValueError(f"{known.sum()} known pairs; a pose needs {ndim}")
    a, b = points[known], onto[known]
    u, _, vt = np.linalg.svd((a - a.mean(0)).T @ (b - b.mean(0)))
    sign = np.ones(ndim)
    sign[-1] = np.sign(np.linalg.det(u @ vt))
    turn = (u @ np.diag(sign) @ vt).T
    out = np.eye(ndim + 1)
    out[:-1, :-1], out[:-1, -1] = turn, b.mean(0) - turn @ a.mean(0)
    return out


def turn_between(axes: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The rotation `[ndim, ndim]` that brings orthogonal axes (columns) onto others; of those that
    differ in the signs of axes, the smallest."""
    ndim = len(axes)
    turns = [
        onto @ np.diag(signs) @ axes.T for signs in itertools.product((1.0, -1.0), repeat=ndim)
    ]
    return max((t for t in turns if np.linalg.det(t) > 0), key=np.trace)


def robust_rigid(points: np.ndarray, onto: np.ndarray, *, keep: float = 0.7) -> np.ndarray:
    """As `rigid`, by the share `keep` of the pairs that agree best: a few may be far off."""
    pose = rigid(points, onto)
    for _ in range(10):
        away = np.linalg.norm(apply(pose, points) - onto, axis=1)
        least = np.sort(away)[points.shape[1] - 1]  # as many as a pose needs; NaN comes last
        near = away <= max(np.nanquantile(away, keep), least)
        pose = rigid(np.where(near[:, None], points, np.nan), onto)
    return pose


def mean_shape(shapes: np.ndarray, *, rounds: int = 10) -> np.ndarray:
    """The mean of shapes `[case, n, ndim]` after each is turned and shifted onto it.

    Generalised Procrustes analysis (Gower 1975), without scaling; it has the pose of the most
    complete shape. NaN is missing.
    """
    mean = shapes[np.isnan(shapes).any(-1).sum(1).argmin()]
    for _ in range(rounds):
        moved = np.stack([apply(rigid(s, mean), s) for s in shapes])
        known = ~np.isnan(moved)
        total = np.where(known, moved, 0.0).sum(0)
        mean = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
    return mean

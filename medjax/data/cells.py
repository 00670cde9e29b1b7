"""Drawn cells of two kinds, whose boxes are known exactly.

Round cells are bright all over; rings are bright at their border alone. Both vary in size, shape
and brightness, on an uneven ground; they overlap, and the border of the image cuts some off.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

KINDS = ("round", "ring")
SIDE = {2: 128, 3: 48}
_RADIUS = {2: (4.0, 11.0), 3: (3.0, 7.0)}  # voxels
_COUNT = {2: (3, 16), 3: (2, 9)}


class Cell(NamedTuple):
    """A cell.

    Attributes:
      kind: an index of `KINDS`.
      low, high: its edges in voxels, in array order, from the outer border of the first voxel; cut
        at the border of the image.
    """

    kind: int
    low: np.ndarray
    high: np.ndarray


def draw(seed: int, index: int, *, ndim: int) -> tuple[np.ndarray, list[Cell]]:
    """Image number `index`, `[*space, 1]`, uint8, and its cells."""
    rng, side = np.random.default_rng([seed, index, ndim]), SIDE[ndim]
    shape = (side,) * ndim
    ground = ndimage.gaussian_filter(rng.normal(size=shape), side / 8)
    image = 0.25 + 0.1 * ground / max(float(np.abs(ground).max()), 1e-9)
    cells = []
    for _ in range(rng.integers(*_COUNT[ndim])):
        kind, centre = int(rng.integers(2)), rng.uniform(0, side, ndim)
        radius = rng.uniform(*_RADIUS[ndim]) * rng.uniform(0.75, 1.25, ndim)
        lines = [
            ((np.arange(side) + 0.5 - c) / r) ** 2 for c, r in zip(centre, radius, strict=True)
        ]
        away = np.sqrt(sum(np.meshgrid(*lines, indexing="ij", sparse=True)))
        soft = np.clip((1 - away) * radius.min() + 0.5, 0, 1)  # one voxel wide at its edge
        inner = np.clip((0.7 - away) * radius.min() + 0.5, 0, 1) if kind else 0.0
        image = image + rng.uniform(0.2, 0.5) * (soft - inner)
        cells.append(
            Cell(kind, np.maximum(centre - radius, 0.0), np.minimum(centre + radius, side))
        )
    noisy = image + rng.normal(0, 0.05, shape)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)[..., None], cells

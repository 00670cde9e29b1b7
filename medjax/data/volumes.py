"""Images of a split as search needs them: at several scales, each in a corner of one array."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medjax.data import geometry
from medjax.data.source import Split
from medjax.errors import UserError


class Packed(NamedTuple):
    """n images, padded to one shape.

    Attributes:
      pixels: `[scale, n, *space]`, as stored, but smoothed for each scale.
      shape: `[n, ndim]`, what of it is image.
      first: `[n, ndim]`, the voxel of the split's array that lies in the corner.
    """

    pixels: np.ndarray
    shape: np.ndarray
    first: np.ndarray


def pack(split: Split, *, spacing: Sequence[int]) -> Packed:
    """The images of a split at scales of so many voxels.

    A scale of s voxels is smoothed by a Gaussian of s / 2 voxels, and keeps its resolution.
    """
    first, beyond = np.moveaxis(split["box"], 1, 0)
    shape = beyond - first
    if split.image_shape[-1] != 1:
        raise UserError(f"search is for images with one channel; these have "
                        f"{split.image_shape[-1]}")
    pixels = np.zeros((len(spacing), len(split), *shape.max(0)), split.image_dtype)
    for i in range(len(split)):
        image = split.read(i)[..., 0]
        corner = tuple(slice(a, b) for a, b in zip(first[i], beyond[i], strict=True))
        for level, s in enumerate(spacing):
            sigma = s / 2 if s > 1 else 0.0
            smooth = ndimage.gaussian_filter(image[corner].astype(np.float32), sigma)
            pixels[level, i][tuple(slice(n) for n in shape[i])] = np.rint(smooth)
    return Packed(pixels, shape, first)


def voxel_mm(split: Split) -> float:
    """The size of a voxel; raises UserError unless it is the same for all axes and images."""
    sizes = np.array([geometry.spacing_mm(a) for a in split["to_world"]])
    if np.ptp(sizes) > 0.01 * sizes.min():
        raise UserError(f"voxels have {sizes.min():.3g} to {sizes.max():.3g} mm; steps of one "
                        "length need one size: give --grid_mm")
    return float(sizes.mean())

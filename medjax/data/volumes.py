"""Images of a split as search needs them: at several scales, each in a corner of one array."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from medjax.data import geometry
from medjax.data.source import Split
from medjax.errors import UserError
from medjax.ops import comb
from medjax.ops.intensity import fingerprint

_fingerprint = jax.jit(fingerprint)
_scales = jax.jit(comb.scales, static_argnames=("spacing", "largest", "room"))


class Packed(NamedTuple):
    """n images, padded to one shape; the fields are those of `envs.search.Volumes`.

    Attributes:
      pixels: `[scale, n, *space]`, as stored, but smoothed and combed for each scale.
      tooth: `[scale, ndim]`; `room`: as of `ops.comb`.
      shape: `[n, ndim]`, of the images.
      first: `[n, ndim]`, the voxel of the split's array with which they begin.
      number: `[n]`, of what they show; see `ops.intensity.fingerprint`.
    """

    pixels: np.ndarray
    tooth: np.ndarray
    room: int
    shape: np.ndarray
    first: np.ndarray
    number: np.ndarray


def pack(split: Split, *, spacing: Sequence[int], room: int) -> Packed:
    """The images of a split at scales of so many voxels; see `ops.comb.scales`."""
    first, beyond = np.moveaxis(split["box"], 1, 0)
    shape = beyond - first
    if split.image_shape[-1] != 1:
        raise UserError(f"search is for images with one channel; these have "
                        f"{split.image_shape[-1]}")
    largest = tuple(shape.max(0).tolist())
    tooth = np.stack([comb.tooth_of(largest, spacing=s, room=room) for s in spacing])
    size = comb.size_of(largest, spacing=spacing, room=room)
    pixels = np.zeros((len(spacing), len(split), *size), split.image_dtype)
    number = np.zeros(len(split), np.uint32)
    for i in range(len(split)):
        image, box = split.read(i)[..., 0], split["box"][i]
        pixels[:, i] = _scales(image, box, spacing=tuple(spacing), largest=largest, room=room)
        number[i] = _fingerprint(image, box)
    return Packed(pixels, tooth, room, shape, first, number)


def voxel_mm(split: Split) -> float:
    """The size of a voxel; raises UserError unless it is the same for all axes and images."""
    sizes = np.array([geometry.spacing_mm(a) for a in split["to_world"]])
    if np.ptp(sizes) > 0.01 * sizes.min():
        raise UserError(f"voxels have {sizes.min():.3g} to {sizes.max():.3g} mm; steps of one "
                        "length need one size: give --grid_mm")
    return float(sizes.mean())

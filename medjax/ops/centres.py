"""Boxes as peaks of maps: targets for a network, and back.

Zhou et al., Objects as points (arXiv 1904.07850), with the distances to the sides of FCOS (Tian et
al., ICCV 2019) in place of sizes and offsets; in 2-D and 3-D. A map is coarser than its image by
the stride: its voxel `i` stands for the middle of image voxels `i * stride` to `(i + 1) * stride -
1`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.ops import boxes as box_ops
from medjax.ops import pool
from medjax.typing import Array

_SIGMA = 1 / 6  # of a box's side; three of its deviations reach from the middle to a side
_LEAST_SIGMA = 0.6  # voxels of the map: a small box still has a peak
_NEAR = 0.5  # of a peak: from there on a voxel learns the box


class BoxTargets(NamedTuple):
    """What a network is to give for the boxes of an image.

    Attributes:
      heat: `[*map, num_classes]`, 1 at the voxel nearest to a box's middle, falling to 0.
      box: `[*map, 2 * ndim]`, the box that a voxel is to give, image voxels.
      weight: `[*map]`, how much it counts there; 0 where there is none.
    """

    heat: Array
    box: Array
    weight: Array


def places(shape: tuple[int, ...], *, stride: int) -> Array:
    """Where the voxels of a map lie in its image: `[*map, ndim]`, image voxels."""
    lines = [stride * jnp.arange(n) + (stride - 1) / 2 for n in shape]
    return jnp.stack(jnp.meshgrid(*lines, indexing="ij"), -1)


def encode(
    boxes: Array, labels: Array, *, shape: tuple[int, ...], stride: int, num_classes: int
) -> BoxTargets:
    """The targets of an image's boxes.

    Args:
      boxes: `[n, 2 * ndim]`, image voxels; NaN where there is none.
      labels: `[n]`, from 0; shape: of the map.
    """
    chex.assert_rank([boxes, labels], [2, 1])
    known = ~jnp.isnan(boxes).any(-1)
    low, high = jnp.split(jnp.nan_to_num(boxes), 2, axis=-1)
    centre = ((low + high) / 2 - (stride - 1) / 2) / stride  # [n, ndim], voxels of the map
    nearest = jnp.clip(jnp.rint(centre), 0, jnp.asarray(shape) - 1)
    sigma = jnp.maximum(_SIGMA * (high - low) / stride, _LEAST_SIGMA)
    grid = jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"), -1)
    away = (grid[..., None, :] - nearest) / sigma  # [*map, n, ndim]
    peaks = jnp.where(known, jnp.exp(-0.5 * (away**2).sum(-1)), 0.0)
    of_class = jax.nn.one_hot(labels, num_classes)  # [n, class]
    heat = (peaks[..., None] * of_class).max(-2, initial=0.0)
    best = peaks.argmax(-1)
    weight = peaks.max(-1, initial=0.0)
    return BoxTargets(heat, jnp.nan_to_num(boxes)[best], jnp.where(weight >= _NEAR, weight, 0.0))


def boxes_of(distances: Array, *, stride: int) -> Array:
    """Boxes `[*map, 2 * ndim]`, image voxels, from the distances of each voxel to its low sides and
    then its high ones, voxels of the map."""
    chex.assert_rank(distances, {3, 4})
    at = places(distances.shape[:-1], stride=stride)
    low, high = jnp.split(stride * distances, 2, axis=-1)
    return jnp.concatenate([at - low, at + high], -1)


class ScoredBoxes(NamedTuple):
    """Boxes of an image, the best first; what is none has the score NaN.

    Attributes:
      boxes: `[most, 2 * ndim]`, image voxels; scores, labels: `[most]`.
    """

    boxes: Array
    scores: Array
    labels: Array


def decode(heat: Array, distances: Array, *, stride: int, most: int, overlap: float) -> ScoredBoxes:
    """The boxes at the highest peaks, of each class those that suppression leaves.

    Args:
      heat: `[*map, num_classes]`, from 0 to 1.
      distances: `[*map, 2 * ndim]`, as of `boxes_of`.
      most: so many boxes; overlap: intersection over union above which the lower one goes.
    """
    chex.assert_rank([heat, distances], [{3, 4}, {3, 4}])
    ndim, num_classes = heat.ndim - 1, heat.shape[-1]
    around = pool.max_pool(
        heat[None], window=(3,) * ndim, strides=(1,) * ndim, pads=((1, 1),) * ndim
    )[0]
    peaks = jnp.where(heat == around, heat, -1.0).reshape(-1)
    scores, place = jax.lax.top_k(peaks, min(most, peaks.size))
    voxel, label = place // num_classes, place % num_classes
    boxes = boxes_of(distances, stride=stride).reshape(-1, 2 * ndim)[voxel]
    scored = jnp.where(scores > 0, scores, jnp.nan)
    stays = box_ops.suppress(boxes, scored, label, threshold=overlap)
    return ScoredBoxes(boxes, jnp.where(stays, scored, jnp.nan), label)

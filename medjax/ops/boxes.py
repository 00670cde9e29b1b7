"""Boxes of images and volumes.

A box is `[2 * ndim]`: its low corner and its high corner, in voxels and in array order. Its sides
are high less low; the box of one voxel at its centre reaches from -0.5 to 0.5.
"""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


def box_size(box: Array) -> Array:
    """Area or volume, `[..., 2 * ndim]` to `[...]`; zero where a high corner is not above."""
    low, high = jnp.split(box, 2, axis=-1)
    return jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)


def _common(a: Array, b: Array) -> tuple[Array, Array]:
    """What two boxes have in common, and what either has; they broadcast."""
    (low_a, high_a), (low_b, high_b) = (jnp.split(box, 2, axis=-1) for box in (a, b))
    inner = jnp.concatenate([jnp.maximum(low_a, low_b), jnp.minimum(high_a, high_b)], -1)
    both = box_size(inner)
    return both, box_size(a) + box_size(b) - both


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of each box with each: `[n, 2 * ndim]`, `[m, 2 * ndim]` to `[n, m]`.

    Zero where both are empty.
    """
    chex.assert_rank([a, b], 2)
    both, either = _common(a[:, None], b[None])
    return both / jnp.maximum(either, 1e-12)


def generalized_iou(a: Array, b: Array) -> Array:
    """Intersection over union, less the share of the box about both that neither has.

    From -1 to 1; unlike `iou` it has a gradient where boxes do not meet. Rezatofighi et al. (CVPR
    2019), algorithm 1.

    Args:
      a, b: two boxes, `[2 * ndim]`.
    """
    chex.assert_rank([a, b], 1)
    both, either = _common(a, b)
    (low_a, high_a), (low_b, high_b) = (jnp.split(box, 2) for box in (a, b))
    about = box_size(jnp.concatenate([jnp.minimum(low_a, low_b), jnp.maximum(high_a, high_b)]))
    return both / jnp.maximum(either, 1e-12) - (about - either) / jnp.maximum(about, 1e-12)


def suppress(
    boxes: Array,
    scores: Array,
    labels: Array,
    *,
    threshold: float,
    owners: Array | None = None,
) -> Array:
    """Which boxes stay in non-maximum suppression, each class by itself: `[n]`, bool.

    From the highest score on, a box stays unless its intersection over union with one of its class
    that stays is above the threshold. Equal scores go by their place. A score that is not finite is
    no box.

    Args:
      boxes: `[n, 2 * ndim]`; scores, labels: `[n]`.
      owners: whose boxes they are, `[n]`: those of one owner leave one another alone.
    """
    chex.assert_rank([boxes, scores, labels], [2, 1, 1])
    order = jnp.argsort(-jnp.where(jnp.isfinite(scores), scores, -jnp.inf), stable=True)
    near = iou(boxes[order], boxes[order]) > threshold
    near &= labels[order][:, None] == labels[order]
    if owners is not None:
        near &= owners[order][:, None] != owners[order]

    def decide(i: Array, stays: Array) -> Array:
        before = jnp.arange(len(stays)) < i
        return stays.at[i].set(stays[i] & ~(stays & near[i] & before).any())

    stays = jax.lax.fori_loop(0, len(order), decide, jnp.isfinite(scores)[order])
    return jnp.zeros_like(stays).at[order].set(stays)

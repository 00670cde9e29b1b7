"""Losses of one example; `vmap` over the batch and average with weights."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


def smooth_labels(target: Array, *, amount: float) -> Array:
    """Moves `amount` of the probability to the uniform distribution.

    Szegedy et al., Rethinking the Inception Architecture (CVPR 2016), section 7.
    """
    chex.assert_rank(target, 1)
    return (1.0 - amount) * target + amount / target.shape[0]


def cross_entropy(logits: Array, target: Array) -> Array:
    """`-sum_c target_c log softmax(logits)_c`, nats; both `[num_classes]`."""
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, 1)
    return -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)))

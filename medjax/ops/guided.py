"""Guided back-propagation (Springenberg et al. 2015, section 3.4)."""

import jax
import jax.numpy as jnp

from medjax.typing import Array


@jax.custom_vjp
def guided_relu(x: Array) -> Array:
    """ReLU whose gradient passes only where both input and gradient are positive."""
    return jnp.maximum(x, 0)


def _forward(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0), x > 0


def _backward(positive: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where(positive & (gradient > 0), gradient, 0),)


guided_relu.defvjp(_forward, _backward)

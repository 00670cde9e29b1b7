"""Intensity transforms of one image with values in [0, 1]."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key


def standardise(image: Array, *, mean: Array, sd: Array) -> Array:
    """`(image - mean) / sd`, with one mean and standard deviation per channel."""
    chex.assert_rank([mean, sd], 1)
    return (image.astype(jnp.float32) - mean) / sd


def gamma(image: Array, exponent: Array) -> Array:
    """`image ** exponent`, for values in [0, 1]; its gradient stays finite at zero."""
    chex.assert_rank(exponent, 0)
    # A CPU computes exp and log of many values at once, and powers one by one: six times as long.
    return jnp.exp(exponent * jnp.log(jnp.clip(image, 1e-6, 1.0)))


def contrast(image: Array, factor: Array, offset: Array) -> Array:
    """Stretches the image about its mean by `factor`, then adds `offset`."""
    chex.assert_rank([factor, offset], 0)
    mean = image.mean()
    return (image - mean) * factor + mean + offset


def noise(key: Key, image: Array, sd: Array) -> Array:
    """Adds Gaussian noise of standard deviation `sd`."""
    chex.assert_rank(sd, 0)
    return image + sd * jax.random.normal(key, image.shape)


def fingerprint(image: Array, box: Array) -> Array:
    """A number, uint32, of the values that an image `[*space]` of whole numbers, none negative, has
    in its box `[2, ndim]`.

    It is the same on every machine and wherever the box lies, and rarely that of another image;
    the order of the values does not enter.
    """
    chex.assert_rank([image, box], [box.shape[1], 2])
    inside = jnp.ones(image.shape, bool)
    for axis, (low, beyond) in enumerate(box.T):
        at = jax.lax.broadcasted_iota(jnp.int32, image.shape, axis)
        inside &= (at >= low) & (at < beyond)
    value = jnp.where(inside, image, 0).astype(jnp.uint32)
    total = (value * (value + 1)).sum(dtype=jnp.uint32)
    return total * jnp.uint32(2654435761)  # Knuth's: small totals too use all bits

"""Random augmentation of one image or volume, on the device, inside the training step."""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from medjax.ops import grid, intensity
from medjax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far each transform may go; zero (or an empty tuple) switches it off.

    Attributes:
      flip: axes to mirror, each with probability one half.
      rotate_degrees: rotation within +- this (about each axis in 3-D).
      scale: size factor within [1 / (1 + scale), 1 + scale].
      stretch: the same for each axis alone.
      shear: shear within +- this.
      translate: shift within +- this fraction of each side.
      crop: zooms into a random window of at least this share of each side (0 off).
      contrast: contrast factor within 1 +- this.
      brightness: offset within +- this.
      gamma: exponent within [1 / (1 + gamma), 1 + gamma].
      noise: Gaussian noise of a standard deviation up to this.
      erase: one box of up to this share of each side is set to the image's mean.
    """

    flip: tuple[int, ...] = ()
    rotate_degrees: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    translate: float = 0.0
    crop: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    erase: float = 0.0

    @property
    def is_spatial(self) -> bool:
        return any([self.rotate_degrees, self.scale, self.stretch, self.shear, self.translate,
                    self.crop])


def augment(key: Key, image: Array, *, how: Augmentation) -> Array:
    """One random version of `image` `[*space, channel]`, values in [0, 1] or about.

    Spatial transforms are composed and interpolated once; outside the image the border repeats.
    """
    chex.assert_rank(image, {3, 4})
    space_key, flip_key, erase_key, tone_key = jax.random.split(key, 4)
    if how.is_spatial:
        matrix = random_affine(space_key, image.shape[:-1], how=how)
        # The barrier keeps XLA from repeating the interpolation in each of its consumers.
        image = jax.lax.optimization_barrier(grid.resample(image, matrix, fill=None))
    image = random_flip(flip_key, image, axes=how.flip)
    image = random_tone(tone_key, image, how=how)
    return random_erase(erase_key, image, share=how.erase) if how.erase else image


def random_affine(key: Key, shape: tuple[int, ...], *, how: Augmentation) -> Array:
    """A random map from output to input coordinates about the centre: `[ndim, ndim + 1]`."""
    ndim = len(shape)
    keys = jax.random.split(key, 7)

    def spread(k: Key, size: int, limit: float | Array) -> Array:
        return jax.random.uniform(k, (size,), minval=-limit, maxval=limit)

    side = jnp.asarray(shape, jnp.float32)
    rotation = jnp.deg2rad(spread(keys[0], 1 if ndim == 2 else 3, how.rotate_degrees))
    factor = jnp.exp(spread(keys[1], 1, jnp.log1p(how.scale))
                     + spread(keys[2], ndim, jnp.log1p(how.stretch)))
    shear = spread(keys[3], ndim * (ndim - 1) // 2, how.shear)
    shift = spread(keys[4], ndim, how.translate) * side
    if how.crop:
        window = jax.random.uniform(keys[5], (1,), minval=how.crop, maxval=1.0)
        factor = factor * window
        shift = shift + spread(keys[6], ndim, 0.5) * (1.0 - window) * side
    return grid.affine_matrix(rotation, factor, shear, shift)


def random_flip(key: Key, image: Array, *, axes: tuple[int, ...]) -> Array:
    """Mirrors each of `axes` with probability one half."""
    chex.assert_rank(image, {3, 4})
    for axis, k in zip(axes, jax.random.split(key, max(len(axes), 1)), strict=False):
        image = jnp.where(jax.random.bernoulli(k), jnp.flip(image, axis), image)
    return image


def random_tone(key: Key, image: Array, *, how: Augmentation) -> Array:
    """Random gamma, contrast, brightness and noise."""
    chex.assert_rank(image, {3, 4})
    keys = jax.random.split(key, 5)
    limit = jnp.log1p(how.gamma)
    if how.gamma:
        exponent = jnp.exp(jax.random.uniform(keys[0], minval=-limit, maxval=limit))
        image = intensity.gamma(image, exponent)
    if how.contrast or how.brightness:
        factor = 1.0 + jax.random.uniform(keys[1], minval=-how.contrast, maxval=how.contrast)
        offset = jax.random.uniform(keys[2], minval=-how.brightness, maxval=how.brightness)
        image = intensity.contrast(image, factor, offset)
    if how.noise:
        sd = jax.random.uniform(keys[3], maxval=how.noise)
        image = intensity.noise(keys[4], image, sd)
    return image


def random_erase(key: Key, image: Array, *, share: float) -> Array:
    """Sets one random box, each side up to `share` of the image's, to the image's mean.

    After the idea of Zhong et al., Random Erasing (AAAI 2020).
    """
    chex.assert_rank(image, {3, 4})
    shape = image.shape[:-1]
    size_key, place_key = jax.random.split(key)
    side = jnp.asarray(shape, jnp.float32)
    half = jax.random.uniform(size_key, side.shape, maxval=share) * side / 2.0
    centre = jax.random.uniform(place_key, side.shape) * side
    where = [jnp.abs(jnp.arange(n) - c) < h for n, c, h in zip(shape, centre, half, strict=True)]
    box = where[0]
    for line in where[1:]:
        box = box[..., None] & line
    return jnp.where(box[..., None], image.mean(), image)


def mixup(key: Key, pair: tuple, other: tuple, *, alpha: float) -> tuple:
    """Blends two (image, target) pairs with one weight from Beta(alpha, alpha).

    Zhang et al., mixup (ICLR 2018), equation 1. `target` is a probability vector.
    """
    chex.assert_rank([pair[1], other[1]], 1)
    weight = jax.random.beta(key, alpha, alpha)
    return jax.tree.map(lambda a, b: weight * a + (1.0 - weight) * b, pair, other)

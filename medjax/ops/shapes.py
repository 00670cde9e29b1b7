"""Pairs of images that nobody has acquired: random shapes, deformed and painted twice.

Hoffmann et al., SynthMorph: learning contrast-invariant registration without acquired images (IEEE
TMI 41, 2022; arXiv 2004.10282). What is learned from them needs no data and knows no contrast.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops import field
from medjax.ops.similarity import box_sum
from medjax.typing import Array, Key

_COARSE = 8  # voxels from one random value to the next, of shapes and of deformations
_BIAS = 3  # values along each side, of a gain that varies over the image


def draw_smooth(key: Key, *, space: Sequence[int], count: int, step: int = _COARSE) -> Array:
    """Random maps `[*space, count]` of mean 0 and standard deviation about 1, a value every so many
    voxels and cubic between them."""
    coarse = [max(n // step, 2) for n in space]
    noise = jax.random.normal(key, (*coarse, count))
    return jax.image.resize(noise, (*space, count), "cubic")


def draw_shapes(key: Key, *, space: Sequence[int], count: int) -> Array:
    """A map `[*space]` of the numbers 0 to `count`: at each voxel which of so many random maps is
    the largest."""
    return draw_smooth(key, space=space, count=count + 1).argmax(-1)


def draw_deformation(key: Key, *, space: Sequence[int], amplitude: float) -> Array:
    """A random displacement without folds `[*space, ndim]`, about so many voxels large."""
    velocity = draw_smooth(key, space=space, count=len(space), step=2 * _COARSE)
    return field.integrate(amplitude * velocity, steps=5)


def deform_shapes(shapes: Array, displacement: Array) -> Array:
    """The map `[*space]` seen through a displacement, by the nearest voxel."""
    place = jnp.rint(field.positions(displacement)).astype(jnp.int32)
    last = [n - 1 for n in shapes.shape]
    return shapes[tuple(jnp.clip(p, 0, n) for p, n in zip(place, last, strict=True))]


def paint(key: Key, shapes: Array, *, count: int) -> Array:
    """An image `[*space]` from 0 to 1 of the shapes: a random gray for each, blurred, with noise, a
    gain that varies over the image, and a random gamma."""
    gray_key, noise_key, bias_key, gamma_key, sd_key = jax.random.split(key, 5)
    gray = jax.random.uniform(gray_key, (count + 1,))
    axes = tuple(range(shapes.ndim))
    blurred = box_sum(gray[shapes], window=3, axes=axes) / 3**shapes.ndim
    sd = jax.random.uniform(sd_key, (), maxval=0.1)
    step = max(max(shapes.shape) // _BIAS, 1)
    gain = draw_smooth(bias_key, space=shapes.shape, count=1, step=step)[..., 0]
    noisy = blurred * jnp.exp(0.2 * gain) + sd * jax.random.normal(noise_key, shapes.shape)
    gamma = jnp.exp(0.25 * jax.random.normal(gamma_key))
    return jnp.clip(noisy, 0.0, 1.0) ** gamma


def draw_pair(
    key: Key, *, space: Sequence[int], count: int, amplitude: float = 3.0
) -> tuple[Array, Array]:
    """A fixed and a moving image `[*space, 2]`, and the shapes that they show `[*space, 2]`.

    Args:
      count: of shapes, beside the background 0.
      amplitude: of the deformation of each, voxels.
    """
    shape_key, *keys = jax.random.split(key, 5)
    shapes = draw_shapes(shape_key, space=space, count=count)
    deformed = [
        deform_shapes(shapes, draw_deformation(k, space=space, amplitude=amplitude))
        for k in keys[:2]
    ]
    painted = [paint(k, s, count=count) for k, s in zip(keys[2:], deformed, strict=True)]
    return jnp.stack(painted, -1), jnp.stack(deformed, -1)

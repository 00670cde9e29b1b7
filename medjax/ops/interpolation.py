"""Linear interpolation at any places, with its gradients written out.

Derived by JAX, the gradient of eight corners is eight gathers and eight scatters, each compiled by
itself, and what they read is kept: three times the time to compile and six times the memory. Here
a loop goes over the corners. Where `medjax build` has compiled the library of `medjax.native`, that
computes all of it.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax import native
from medjax.typing import Array


def sample(image: Array, coordinates: Array, *, fill: float | None = 0.0) -> Array:
    """Linear interpolation of `image` at `coordinates`.

    Its first derivative is there in reverse mode; to the coordinates it is that of the cell that
    they lie in.

    Args:
      image: `[*space, channel]`.
      coordinates: `[ndim, *out]`, voxel indices, fractional.
      fill: the value outside the image, or None to repeat the nearest border voxel.

    Returns:
      `[*out, channel]`, in the dtype of `image`.
    """
    ndim, *out = coordinates.shape
    chex.assert_rank(image, ndim + 1)
    where = coordinates.reshape(ndim, -1).astype(jnp.float32)
    values = _sample(fill, image.astype(jnp.float32), where)
    values = jnp.rint(values) if jnp.issubdtype(image.dtype, jnp.integer) else values
    return values.reshape(*out, image.shape[-1]).astype(image.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sample(fill: float | None, image: Array, where: Array) -> Array:
    """`[*space, channel]` at `[ndim, point]`: `[point, channel]`."""
    shape = (where.shape[1], image.shape[-1])
    return _by_backend("forward", _interpolate, fill, shape, image, where)


def _forward(fill: float | None, image: Array, where: Array) -> tuple[Array, tuple[Array, Array]]:
    return _sample(fill, image, where), (image, where)


def _backward(fill: float | None, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    image, where = saved
    to_image = functools.partial(_spread, image.shape)
    return (
        _by_backend("image_gradient", to_image, fill, image.shape, g, where),
        _by_backend("place_gradient", _slope, fill, where.shape, image, where, g),
    )


_sample.defvjp(_forward, _backward)


def _by_backend(
    name: str,
    pure: Callable[..., Array],
    fill: float | None,
    shape: tuple[int, ...],
    *arrays: Array,
) -> Array:
    """By the compiled library on the one device of a CPU, else by XLA.

    Args:
      name: of the library's function; pure: `pure(fill, *arrays)`, the same.
      shape: of the result; arrays: the places are the second.
    """

    def by_xla(*arrays: Array) -> Array:
        return pure(fill, *arrays)

    def by_library(*arrays: Array) -> Array:
        result = jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
        call = jax.ffi.ffi_call(f"medjax_sample_{name}", result, vmap_method="expand_dims")
        return call(*arrays, fill=np.float32(0.0 if fill is None else fill), repeat=fill is None)

    ndim = arrays[1].shape[0]
    if not native.is_loaded() or jax.device_count() > 1 or ndim not in (2, 3):
        return by_xla(*arrays)
    return lax.platform_dependent(*arrays, cpu=by_library, default=by_xla)


class _Corner(NamedTuple):
    """Of the cells that points lie in, the corner on the same side of each."""

    at: Array  # [point], number of the voxel in the image, held inside
    inside: Array  # [point]
    sides: Array  # [ndim, point]: one less the distance
    signs: Array  # [ndim]: by which `sides` grow with the coordinates

    @property
    def weight(self) -> Array:
        return functools.reduce(jnp.multiply, self.sides)

    def slope(self, axis: int) -> Array:
        """Of the weight, along an axis."""
        others = [side for d, side in enumerate(self.sides) if d != axis]
        return functools.reduce(jnp.multiply, others, self.signs[axis])

    def value(self, fill: float | None, image: Array) -> Array:
        value = image.reshape(-1, image.shape[-1])[self.at]
        return value if fill is None else jnp.where(self.inside[:, None], value, fill)


def _corners(ndim: int) -> Array:
    """Each as 0 or 1 an axis."""
    return jnp.array(list(itertools.product((0, 1), repeat=ndim)))


def _corner(where: Array, space: tuple[int, ...], up: Array) -> _Corner:
    size, up = jnp.array(space)[:, None], up[:, None]
    low = jnp.floor(where)
    part = where - low
    places = low.astype(jnp.int32) + up
    inside = ((places >= 0) & (places < size)).all(0)
    at = jnp.ravel_multi_index(tuple(places), space, mode="clip")
    return _Corner(at, inside, jnp.where(up == 1, part, 1.0 - part), 2.0 * up[:, 0] - 1.0)


def _interpolate(fill: float | None, image: Array, where: Array) -> Array:
    total = jnp.zeros((where.shape[1], image.shape[-1]), jnp.float32)
    for up in _corners(where.shape[0]):
        corner = _corner(where, image.shape[:-1], up)
        total += corner.weight[:, None] * corner.value(fill, image)
    return total


def _slope(fill: float | None, image: Array, where: Array, g: Array) -> Array:
    """The gradient to the places: `[ndim, point]`."""
    ups = _corners(where.shape[0])

    def add_corner(i: Array, total: Array) -> Array:
        corner = _corner(where, image.shape[:-1], ups[i])
        slopes = jnp.stack([corner.slope(axis) for axis in range(where.shape[0])])
        return total + slopes * (g * corner.value(fill, image)).sum(-1)

    return lax.fori_loop(0, len(ups), add_corner, jnp.zeros(where.shape, jnp.float32))


def _spread(shape: tuple[int, ...], fill: float | None, g: Array, where: Array) -> Array:
    """The gradient to the image: each point's, shared among its corners."""
    ups = _corners(where.shape[0])

    def add_corner(i: Array, total: Array) -> Array:
        corner = _corner(where, shape[:-1], ups[i])
        weight = corner.weight if fill is None else corner.weight * corner.inside
        return total.at[corner.at].add(weight[:, None] * g)

    flat = jnp.zeros((math.prod(shape[:-1]), shape[-1]), jnp.float32)
    return lax.fori_loop(0, len(ups), add_corner, flat).reshape(shape)

"""Convolution by the library of `medjax.native`, with its derivatives; float32, on a CPU."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.ops.conv_gradient import Pads, images_gradient
from medjax.typing import Array

Three = tuple[int, int, int]


def convolve(
    images: Array, kernel: Array, *, strides: tuple[int, ...], pads: Pads, depthwise: bool = False
) -> Array:
    """A 2-D or 3-D convolution (cross-correlation), without dilation.

    Args:
      images: `[batch, *space, in]`.
      kernel: `[*taps, in, out]`; depthwise `[*taps, 1, in]`.
      strides: one a space axis; pads: (low, high) of each.
      depthwise: each channel has a kernel of its own.

    Returns:
      `[batch, *space', out]`.
    """
    chex.assert_equal_rank([images, kernel])
    kind = "depthwise" if depthwise else "conv"
    if images.ndim == 5:
        return _convolve(kind, strides, pads, images, kernel)
    flat = ((0, 0), *pads)  # 2-D: one slice deep
    return _convolve(kind, (1, *strides), flat, images[:, None], kernel[None])[:, 0]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _convolve(kind: str, strides: tuple[int, ...], pads: Pads, x: Array, w: Array) -> Array:
    space = zip(x.shape[1:4], w.shape[:3], strides, pads, strict=True)
    sides = [(n + low + high - k) // s + 1 for n, k, s, (low, high) in space]
    return _call(f"{kind}_forward", x, w, (x.shape[0], *sides, w.shape[4]), strides, pads)


def _call(
    name: str, a: Array, b: Array, shape: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> Array:
    result = jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call(f"medjax_{name}", result, vmap_method="sequential")
    low = np.array([low for low, _ in pads], np.int64)
    return call(a, b, strides=np.array(strides, np.int64), low=low)


def _forward(
    kind: str, strides: tuple[int, ...], pads: Pads, x: Array, w: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(kind, strides, pads, x, w), (x, w)


def _backward(
    kind: str, strides: tuple[int, ...], pads: Pads, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, w = saved
    to_images = _to_images(kind, strides, pads, x, w, g)
    return to_images, _gather(kind, strides, pads, w.shape[:3], x, g)


_convolve.defvjp(_forward, _backward)


def _to_images(
    kind: str, strides: tuple[int, ...], pads: Pads, x: Array, w: Array, g: Array
) -> Array:
    return images_gradient(
        w.swapaxes(-2, -1) if kind == "depthwise" else w,  # back from each channel to itself
        g,
        sides=x.shape[1:4],
        strides=strides,
        pads=pads,
        convolve=lambda images, kernel, around: _convolve(kind, (1, 1, 1), around, images, kernel),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _gather(
    kind: str, strides: tuple[int, ...], pads: Pads, taps: Three, x: Array, g: Array
) -> Array:
    """The kernel's gradient, `[*taps, in, out]`, or depthwise `[*taps, 1, in]`."""
    inputs = 1 if kind == "depthwise" else x.shape[4]
    shape = (*taps, inputs, g.shape[4])
    return _call(f"{kind}_kernel_gradient", x, g, shape, strides, pads)


def _gather_forward(
    kind: str, strides: tuple[int, ...], pads: Pads, taps: Three, x: Array, g: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _gather(kind, strides, pads, taps, x, g), (x, g)


def _gather_backward(
    kind: str,
    strides: tuple[int, ...],
    pads: Pads,
    taps: Three,
    saved: tuple[Array, Array],
    to_kernel: Array,
) -> tuple[Array, Array]:
    """It is linear in either, as the convolution is."""
    x, g = saved
    to_images = _to_images(kind, strides, pads, x, to_kernel, g)
    return to_images, _convolve(kind, strides, pads, x, to_kernel)


_gather.defvjp(_gather_forward, _gather_backward)

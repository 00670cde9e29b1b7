"""Convolution that is not slow on a CPU; the same numbers, to rounding, as XLA's own.

XLA's CPU backend has weak spots, several times slower than they need be: a 3-D convolution; the
gradient of any convolution inside a loop (`lax.scan`), where the rewriting that makes it fast is
not done; the kernel gradient of a 1-wide convolution; a convolution of gray images; and a dilated
one. Here a 3-D convolution is folded into a 2-D one, a dilated one becomes plain ones of every
second (third, ...) pixel, gradients are written as the plain convolutions that they are,
a 1-wide convolution is a matrix product, and of a gray image two columns are two channels. Where
`medjax build` has compiled the library of `medjax.native`, that computes all of it. Other backends
get XLA's own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax import native
from medjax.ops import compiled_conv
from medjax.ops.conv_gradient import Pads, images_gradient
from medjax.ops.depthwise import convolve_depthwise
from medjax.ops.phases import interleave
from medjax.typing import Array

_2D = ("NHWC", "HWIO", "NHWC")
LAYOUT = {4: _2D, 5: ("NDHWC", "DHWIO", "NDHWC")}  # channels last, by the rank of the images
Strides = tuple[int, int]
_PART_BYTES = 1 << 26  # more is slower too: it leaves the cache


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | str,
    **options: Any,
) -> Array:
    """A drop-in for `jax.lax.conv_general_dilated`, for `nn.Conv(conv_general_dilated=...)`.

    The CPU gets the forms of this folder (reverse-mode derivatives only, of any order), also of a
    depthwise convolution and of a dilated one without strides; every other backend, and other
    groups, get XLA's own.
    """

    def of_xla(x: Array, w: Array) -> Array:
        return lax.conv_general_dilated(x, w, window_strides, padding, **options)

    groups = options.get("feature_group_count", 1)
    depthwise = groups == lhs.shape[-1] == rhs.shape[-1]
    strides = tuple(window_strides)
    dilation = tuple(options.get("rhs_dilation") or (1,) * len(strides))
    dilated = not set(dilation) <= {1}
    if not _is_plain(rhs.ndim, options) or not (groups == 1 or depthwise):
        return of_xla(lhs, rhs)
    if dilated and (depthwise or set(strides) != {1}):
        return of_xla(lhs, rhs)
    if isinstance(padding, str):
        window = [(k - 1) * d + 1 for k, d in zip(rhs.shape, dilation, strict=False)]
        padding = lax.padtype_to_pads(lhs.shape[1:-1], window, strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    form: Callable[..., Array] = conv2d if rhs.ndim == 4 else conv3d
    if _is_compiled(lhs, rhs):
        form = partial(compiled_conv.convolve, depthwise=groups > 1)
    elif groups > 1:
        form = convolve_depthwise
    if dilated:
        form = partial(_by_phases, form, dilation)
    return lax.platform_dependent(
        lhs, rhs, cpu=lambda x, w: form(x, w, strides=strides, pads=pads), default=of_xla
    )


def _is_compiled(x: Array, w: Array) -> bool:
    """Whether the compiled library computes it: on one device, since XLA cannot share out what it
    does not know."""
    of_kind = x.dtype == w.dtype == jnp.float32
    return native.is_loaded() and of_kind and jax.device_count() == 1


def _is_plain(rank: int, options: Mapping[str, Any]) -> bool:
    """True for a 2-D or 3-D convolution of no spread images or groups of the batch, channels
    last."""
    names = LAYOUT.get(rank)
    if names is None:
        return False
    ones = set(options.get("lhs_dilation") or (1,)) <= {1}
    groups = options.get("batch_group_count", 1)
    layout = lax.conv_dimension_numbers((1,) * rank, (1,) * rank, names)
    exact = options.get("precision") or options.get("preferred_element_type")
    named = options.get("dimension_numbers") in (names, layout)
    return ones and groups == 1 and exact is None and named


def _by_phases(
    form: Callable[..., Array],
    dilation: Sequence[int],
    x: Array,
    w: Array,
    *,
    strides: Sequence[int],
    pads: Pads,
) -> Array:
    """A dilated convolution: pixels that lie a dilation apart are images of their own, which are
    convolved without it (Yu and Koltun 2016, arXiv 1511.07122, have the same two views)."""
    ndim, batch = len(dilation), x.shape[0]
    padded = [n + low + high for n, (low, high) in zip(x.shape[1:-1], pads, strict=True)]
    counts = [-(-n // d) for n, d in zip(padded, dilation, strict=True)]
    more = [c * d - n for c, d, n in zip(counts, dilation, padded, strict=True)]
    margin = [(low, high + m) for (low, high), m in zip(pads, more, strict=True)]
    split = jnp.pad(x, [(0, 0), *margin, (0, 0)]).reshape(
        batch, *(side for pair in zip(counts, dilation, strict=True) for side in pair), x.shape[-1]
    )
    of_count, of_phase = range(1, 2 * ndim, 2), range(2, 2 * ndim + 1, 2)
    phases = split.transpose(*of_phase, 0, *of_count, 2 * ndim + 1)
    answers = form(
        phases.reshape(-1, *counts, x.shape[-1]), w, strides=strides, pads=((0, 0),) * ndim
    )
    ends = [n - d * (k - 1) for n, d, k in zip(padded, dilation, w.shape, strict=False)]
    return interleave(dilation, answers.reshape(-1, batch, *answers.shape[1:]), ends)


def conv3d(volumes: Array, kernel: Array, *, strides: Sequence[int], pads: Pads) -> Array:
    """A 3-D convolution as 2-D convolutions: depth taps become channels, depth joins the batch.

    Where no gradient is asked for, one part of the depth after the other, so that only its taps are
    in memory at once: about `_PART_BYTES` a volume.

    Args:
      volumes: `[batch, depth, height, width, in]`.
      kernel: `[kd, kh, kw, in, out]`.
      strides: one a space axis.
      pads: (low, high) a space axis.

    Returns:
      `[batch, depth', height', width', out]`.
    """
    chex.assert_rank([volumes, kernel], 5)
    padded = jnp.pad(volumes, ((0, 0), pads[0], (0, 0), (0, 0), (0, 0)))
    return _conv3d(tuple(strides), tuple(pads[1:]), padded, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv3d(strides: tuple[int, ...], pads: Pads, x: Array, w: Array) -> Array:
    kd, stride = w.shape[0], strides[0]
    depth = (x.shape[1] - kd) // stride + 1
    taps = depth * kd * math.prod(x.shape[2:]) * x.dtype.itemsize  # bytes of one volume's
    count = -(-taps // _PART_BYTES)
    if kd == 1 or count < 2:
        return _folded(strides, pads, x, w)
    rows = -(-depth // count)
    # The last part may reach over the end.
    x = jnp.pad(x, ((0, 0), (0, (rows * count - depth) * stride), (0, 0), (0, 0), (0, 0)))

    def answer_part(i: Array) -> Array:
        part = lax.dynamic_slice_in_dim(x, i * rows * stride, (rows - 1) * stride + kd, axis=1)
        return _folded(strides, pads, part, w)

    parts = lax.map(answer_part, jnp.arange(-(-depth // rows)))  # [part, batch, rows, ...]
    joined = jnp.moveaxis(parts, 0, 1).reshape(x.shape[0], -1, *parts.shape[3:])
    return joined[:, :depth]


def _folded(strides: tuple[int, ...], pads: Pads, x: Array, w: Array) -> Array:
    """All of `x`, which is padded along its depth, as one 2-D convolution."""
    kd, kh, kw, c_in, c_out = w.shape
    depth = (x.shape[1] - kd) // strides[0] + 1
    last = (depth - 1) * strides[0] + 1
    taps = [x[:, t : t + last : strides[0]] for t in range(kd)]
    slabs = jnp.concatenate(taps, axis=-1)  # [batch, depth', height, width, kd * in]
    weights = w.transpose(1, 2, 0, 3, 4).reshape(kh, kw, kd * c_in, c_out)
    out = conv2d(slabs.reshape(-1, *slabs.shape[2:]), weights, strides=strides[1:], pads=pads)
    return out.reshape(x.shape[0], depth, *out.shape[1:])


# Parts would be slower with a gradient: XLA's CPU backend is, inside of loops.
_conv3d.defvjp(
    lambda strides, pads, x, w: jax.vjp(partial(_folded, strides, pads), x, w),
    lambda strides, pads, pull_back, g: pull_back(g),
)


def conv2d(images: Array, kernel: Array, *, strides: Sequence[int], pads: Pads) -> Array:
    """A 2-D convolution (cross-correlation) with gradients that stay fast inside loops.

    Args:
      images: `[batch, height, width, in]`.
      kernel: `[kh, kw, in, out]`.
      strides: one a space axis.
      pads: (low, high) a space axis.

    Returns:
      `[batch, height', width', out]`.
    """
    chex.assert_rank([images, kernel], 4)
    if kernel.shape[:2] == (1, 1) and not any(map(any, pads)):
        return images[:, :: strides[0], :: strides[1]] @ kernel[0, 0]
    return _conv2d((strides[0], strides[1]), tuple(pads), images, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _conv2d(strides: tuple[int, int], pads: Pads, x: Array, w: Array) -> Array:
    half = w.shape[1] // 2
    # A gray image is slow as one channel (see above); as two, only where the width stays even.
    keeps = strides == (1, 1) and pads[1] == (half, half) and w.shape[1] % 2
    if keeps and x.shape[-1] == 1 and x.shape[2] % 2 == 0:
        return _in_pairs(x, w, pads[0])
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=_2D)


def _in_pairs(x: Array, w: Array, rows: tuple[int, int]) -> Array:
    """Of one channel, along a width that is kept: two columns side by side are two channels.

    No number is moved for it: a kernel of pairs has each tap twice, once for either column.
    """
    taps, features = w.shape[1], w.shape[3]
    reach = (taps // 2 + 1) // 2  # pairs to the left and right
    where = np.zeros((2 * reach + 1, 2, taps, 2), np.float32)  # pair, column in, tap, column out
    for out, tap in np.ndindex(2, taps):
        pair, column = divmod(out + tap - taps // 2, 2)
        where[pair + reach, column, tap, out] = 1.0
    pairs = jnp.einsum("pctd,htf->hpcdf", where.astype(w.dtype), w[:, :, 0])
    product = lax.conv_general_dilated(
        x.reshape(*x.shape[:2], -1, 2),
        pairs.reshape(w.shape[0], -1, 2, 2 * features),
        (1, 1),
        (rows, (reach, reach)),
        dimension_numbers=_2D,
    )
    return product.reshape(x.shape[0], product.shape[1], x.shape[2], features)


def _forward(strides: Strides, pads: Pads, x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv2d(strides, pads, x, w), (x, w)


def _backward(
    strides: Strides, pads: Pads, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, w = saved
    to_images = images_gradient(
        w, g, sides=x.shape[1:3], strides=strides, pads=pads, convolve=_without_stride
    )
    return to_images, _kernel_gradient(x, w, g, strides, pads)


def _without_stride(x: Array, w: Array, pads: Pads) -> Array:
    return lax.conv_general_dilated(x, w, (1, 1), pads, dimension_numbers=_2D)


def _kernel_gradient(x: Array, w: Array, g: Array, strides: Strides, pads: Pads) -> Array:
    """The images convolved with the output gradient; batch is what is summed over."""
    # The output gradient is the kernel here: its taps lie a stride apart. The padding behind makes
    # the result as large as the kernel, also where the last stride fell short.
    around = [
        (low, (m - 1) * s + k - n - low)
        for k, n, m, s, (low, _) in zip(
            w.shape, x.shape[1:3], g.shape[1:3], strides, pads, strict=False
        )
    ]
    out = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        g.transpose(1, 2, 0, 3),
        (1, 1),
        around,
        rhs_dilation=strides,
        dimension_numbers=_2D,
    )  # [in, kh, kw, out]
    return out.transpose(1, 2, 0, 3)


_conv2d.defvjp(_forward, _backward)

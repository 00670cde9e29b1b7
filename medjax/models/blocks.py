"""The layers that every network here is built from."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.ops import pool
from medjax.ops.conv import LAYOUT, conv_general_dilated
from medjax.typing import Array

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution over all space axes of `[batch, *space, channel]`, padded by half the kernel.

    The padding is symmetric at every stride, as in PyTorch, so that published weights fit.

    Attributes:
      groups: of channels that are convolved by themselves.
      of_tensorflow: padded as TensorFlow does: at stride 2 of even sides only behind.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = False
    dtype: DTypeLike = jnp.float32
    kernel_init: Callable[..., Any] = he_normal
    bias_init: Callable[..., Any] = nn.initializers.zeros
    groups: int = 1
    of_tensorflow: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        ndim = x.ndim - 2
        half = [(self.kernel // 2,) * 2] * ndim
        return nn.Conv(
            self.features,
            (self.kernel,) * ndim,
            (self.stride,) * ndim,
            padding="SAME" if self.of_tensorflow else half,
            feature_group_count=self.groups,
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)


class PatchConv(nn.Module):
    """Convolution of patches that do not overlap, `size` a side; voxels beyond the last whole one
    are left out."""

    features: int
    size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        sides = (self.size,) * (x.ndim - 2)
        return nn.Conv(
            self.features,
            sides,
            sides,
            padding="VALID",
            dtype=self.dtype,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)


def convolve(x: Array, kernel: Array) -> Array:
    """`[batch, *space, in]` with `kernel` `[*size, in, out]` of odd sides, padded to keep space."""
    ndim = x.ndim - 2
    return conv_general_dilated(
        x,
        kernel,
        (1,) * ndim,
        [(n // 2,) * 2 for n in kernel.shape[:-2]],
        dimension_numbers=LAYOUT[x.ndim],
    )


class Norm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015), statistics in float32.

    In training, the batch is the global one whatever the number of devices.
    """

    dtype: DTypeLike = jnp.float32
    scale_init: Callable[..., Any] = nn.initializers.ones
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=self.epsilon,
            dtype=self.dtype,
            scale_init=self.scale_init,
            name="norm",
        )(x)


class InstanceNorm(nn.Module):
    """Each channel of each example to mean 0 and variance 1 over space (Ulyanov et al. 2016)."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        space = tuple(range(1, x.ndim - 1))
        wide = x.astype(jnp.float32)
        mean = wide.mean(space, keepdims=True)
        variance = jnp.square(wide - mean).mean(space, keepdims=True)
        factor = scale * jax.lax.rsqrt(variance + 1e-5)
        return ((wide - mean) * factor + bias).astype(self.dtype)


def layer_norm(name: str, dtype: DTypeLike) -> nn.LayerNorm:
    """Layer normalisation (Ba et al. 2016) as weights of transformers have it."""
    return nn.LayerNorm(1e-6, dtype=dtype, name=name)


class UpConv(nn.Module):
    """Transposed convolution, 2 wide with stride 2: every voxel becomes a block of 2 a side.

    Written as a matrix product, which a CPU is many times faster at.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        ndim = x.ndim - 2
        kernel = self.param("kernel", he_normal, ((2,) * ndim) + (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        into = jnp.moveaxis(kernel, -2, 0).reshape(x.shape[-1], -1)  # [in, 2 * .. * 2 * out]
        out = (x @ into.astype(self.dtype)).reshape(
            *x.shape[:-1], *(2,) * ndim, self.features
        )  # [batch, *space, *two, out]
        order = [0, *(a for d in range(ndim) for a in (1 + d, 1 + ndim + d)), 1 + 2 * ndim]
        shape = (x.shape[0], *(2 * n for n in x.shape[1:-1]), self.features)
        return out.transpose(order).reshape(shape) + bias.astype(self.dtype)


class DownConv(nn.Module):
    """Convolution, 2 wide with stride 2: every block of 2 a side becomes a voxel.

    Written as a matrix product, as `UpConv` is.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        ndim = x.ndim - 2
        kernel = self.param("kernel", he_normal, ((2,) * ndim) + (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        halves = [n for side in x.shape[1:-1] for n in (side // 2, 2)]
        parts = x.reshape(x.shape[0], *halves, x.shape[-1])  # [batch, h, 2, w, 2, channel]
        order = [0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1]
        flat = parts.transpose(order).reshape(x.shape[0], *halves[::2], -1)
        return flat @ kernel.reshape(-1, self.features).astype(self.dtype) + bias.astype(self.dtype)


def max_pool(x: Array, *, window: int, stride: int, pad: int = 0) -> Array:
    """Maximum over windows of `[batch, *space, channel]`; padding never wins."""
    ndim = x.ndim - 2
    return pool.max_pool(
        x, window=(window,) * ndim, strides=(stride,) * ndim, pads=((pad, pad),) * ndim
    )


def avg_pool(x: Array, *, window: int) -> Array:
    """Mean over windows that do not overlap, `[batch, *space, channel]`."""
    ndim = x.ndim - 2
    return nn.avg_pool(x, (window,) * ndim, (window,) * ndim)


def resize(x: Array, shape: Sequence[int], *, method: str = "linear") -> Array:
    """`[batch, *space, channel]` with the sides `shape`, enlarged linearly or cubically."""
    return jax.image.resize(x, (x.shape[0], *shape, x.shape[-1]), method)


def global_mean(x: Array) -> Array:
    """`[batch, *space, channel]` to `[batch, channel]`, summed in float32."""
    return x.astype(jnp.float32).mean(axis=tuple(range(1, x.ndim - 1)))


def doubled(width: int, levels: int, *, most: int = 2**31) -> tuple[int, ...]:
    """Features of each level, the finest first: twice as many at each further one, up to `most`."""
    return tuple(min(width * 2**i, most) for i in range(levels))


def voxelwise(x: Array, features: int, *, name: str) -> Array:
    """A linear layer of each voxel, in float32; called within a module."""
    return Conv(features, kernel=1, use_bias=True, name=name)(x.astype(jnp.float32))


class Head(nn.Module):
    """Dropout and a linear layer in float32: `[batch, feature]` to `[batch, num_classes]`."""

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = nn.Dropout(self.dropout, deterministic=not train)(x.astype(jnp.float32))
        return nn.Dense(self.num_classes, name="linear")(x)

"""The layers that every network here is built from."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medjax.ops.conv import conv_general_dilated
from medjax.typing import Array

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """Convolution over all space axes of `[batch, *space, channel]`, padded by half the kernel.

    The padding is symmetric at every stride, as in PyTorch, so that published weights fit.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32
    kernel_init: Callable[..., Any] = he_normal

    @nn.compact
    def __call__(self, x: Array) -> Array:
        ndim = x.ndim - 2
        return nn.Conv(
            self.features, (self.kernel,) * ndim, (self.stride,) * ndim,
            padding=[(self.kernel // 2,) * 2] * ndim, use_bias=self.use_bias, dtype=self.dtype,
            kernel_init=self.kernel_init, conv_general_dilated=conv_general_dilated,
            name="conv")(x)


class Norm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015), statistics in float32.

    In training, the batch is the global one whatever the number of devices.
    """

    dtype: Any = jnp.float32
    scale_init: Callable[..., Any] = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        return nn.BatchNorm(
            use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=self.dtype,
            scale_init=self.scale_init, name="norm")(x)


def max_pool(x: Array, *, window: int, stride: int, pad: int = 0) -> Array:
    """Maximum over windows of `[batch, *space, channel]`; padding never wins."""
    ndim = x.ndim - 2
    return nn.max_pool(x, (window,) * ndim, (stride,) * ndim, [(pad, pad)] * ndim)


def avg_pool(x: Array, *, window: int) -> Array:
    """Mean over windows that do not overlap, `[batch, *space, channel]`."""
    ndim = x.ndim - 2
    return nn.avg_pool(x, (window,) * ndim, (window,) * ndim)


def global_mean(x: Array) -> Array:
    """`[batch, *space, channel]` to `[batch, channel]`, summed in float32."""
    return x.astype(jnp.float32).mean(axis=tuple(range(1, x.ndim - 1)))


class Head(nn.Module):
    """Dropout and a linear layer in float32: `[batch, feature]` to `[batch, num_classes]`."""

    num_classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = nn.Dropout(self.dropout, deterministic=not train)(x.astype(jnp.float32))
        return nn.Dense(self.num_classes, name="linear")(x)

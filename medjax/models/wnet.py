"""W-Net: two small U-Nets in a row (Galdran et al. 2022, doi 10.1038/s41598-022-09675-y)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.models.pretrained import from_torch
from medjax.typing import Array


class ShortcutConvs(nn.Module):
    """Two 3-wide convolutions, each with ReLU and then batch norm, plus one 1-wide with norm."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        short = blocks.Conv(self.features, kernel=1, dtype=self.dtype, name="shortcut_0")(x)
        short = blocks.Norm(dtype=self.dtype, name="shortcut_1")(short, train=train)
        for i in (0, 3):
            x = blocks.Conv(self.features, use_bias=True, dtype=self.dtype, name=f"block_{i}")(x)
            x = blocks.Norm(dtype=self.dtype, name=f"block_{i + 2}")(nn.relu(x), train=train)
        return x + short


class BridgedUNet(nn.Module):
    """A U-Net of `ShortcutConvs`, whose skip connections pass a convolution.

    Attributes:
      widths: features of each level, the finest first; sides divide by `2 ** (len(widths) - 1)`.
    """

    num_outputs: int
    widths: Sequence[int] = (8, 16, 32)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = ShortcutConvs(self.widths[0], self.dtype, name="first")(x, train=train)
        skips = []
        for i, width in enumerate(self.widths[1:]):
            skips.append(x)
            x = blocks.max_pool(x, window=2, stride=2)
            x = ShortcutConvs(width, self.dtype, name=f"down_path_{i}")(x, train=train)
        for i, skip in enumerate(reversed(skips)):
            x = Rise(skip.shape[-1], self.dtype, name=f"up_path_{i}")(x, skip, train=train)
        return blocks.Conv(self.num_outputs, kernel=1, use_bias=True, name="final")(
            x.astype(jnp.float32)
        )


class Rise(nn.Module):
    """From a level to the next finer one."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, skip: Array, *, train: bool) -> Array:
        up = blocks.UpConv(self.features, dtype=self.dtype, name="up_layer_block_0")(x)
        bridge = Bridge(self.features, self.dtype, name="conv_bridge_layer")(skip, train=train)
        joined = jnp.concatenate([up, bridge], -1)
        return ShortcutConvs(self.features, self.dtype, name="conv_layer")(joined, train=train)


class Bridge(nn.Module):
    """A 3-wide convolution with ReLU and then batch norm."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = blocks.Conv(self.features, use_bias=True, dtype=self.dtype, name="block_0")(x)
        return blocks.Norm(dtype=self.dtype, name="block_2")(nn.relu(x), train=train)


class WNet(nn.Module):
    """`[batch, *space, channel]` to `[batch, *space, num_outputs]`, linear.

    The second U-Net sees the image and what the first makes of it. 68,482 parameters for colour
    images and one output.
    """

    num_outputs: int
    widths: Sequence[int] = (8, 16, 32)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | tuple[Array, ...]:
        """In training the maps of both, the second's first, since each has a loss."""
        first = BridgedUNet(self.num_outputs, self.widths, self.dtype, name="unet1")(x, train=train)
        joined = jnp.concatenate([x.astype(jnp.float32), first], -1)
        second = BridgedUNet(self.num_outputs, self.widths, self.dtype, name="unet2")(
            joined, train=train
        )
        return (second, first) if train else second

    @classmethod
    def of_width(
        cls, num_outputs: int, *, width: int = 8, dtype: DTypeLike = jnp.float32
    ) -> "WNet":
        """One whose finest level has `width` features."""
        return cls(num_outputs, (width, 2 * width, 4 * width), dtype)


def published_weights(variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    """`variables` with the authors' weights; as of `pretrained.from_torch`."""
    renamed = {}
    for name, value in tensors.items():
        is_up = ".up_layer." in name and value.ndim > 1  # such are stored `[in, out, *space]`
        renamed[name.replace(".up_layer.", ".up_layer_")] = value.swapaxes(0, 1) if is_up else value
    return from_torch(variables, renamed)

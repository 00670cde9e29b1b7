"""U-Net with a residual encoder: Isensee et al. 2024 (arXiv 2404.09556), in 2-D and 3-D."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

BLOCKS = (1, 3, 4, 6, 6, 6)  # of each level
_MOST_FEATURES = 320


class ResidualPair(nn.Module):
    """Two 3-wide convolutions beside a short cut, which is pooled where the first has a stride."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = blocks.Conv(self.features, stride=self.stride, dtype=self.dtype, name="conv1")(x)
        y = nn.leaky_relu(blocks.InstanceNorm(dtype=self.dtype, name="norm1")(y), 0.01)
        y = blocks.Conv(self.features, dtype=self.dtype, name="conv2")(y)
        y = blocks.InstanceNorm(dtype=self.dtype, name="norm2")(y)
        x = blocks.avg_pool(x, window=2) if self.stride > 1 else x
        if x.shape[-1] != self.features:
            x = blocks.Conv(self.features, kernel=1, dtype=self.dtype, name="short_conv")(x)
            x = blocks.InstanceNorm(dtype=self.dtype, name="short_norm")(x)
        return nn.leaky_relu(x + y, 0.01)


class ResidualUNet(nn.Module):
    """`[batch, *space, channel]` to `[batch, *space, num_outputs]`, linear.

    Attributes:
      widths: features of each level, the finest first; sides divide by `2 ** (len(widths) - 1)`.
      dtype: of the computation; parameters and output stay float32.
      supervised, finest: as of `UNet`.
    """

    num_outputs: int
    widths: Sequence[int] = (32, 64, 128, 256, 320)
    dtype: DTypeLike = jnp.float32
    supervised: int = 0
    finest: int = 0

    @classmethod
    def of_width(
        cls,
        num_outputs: int,
        *,
        width: int = 32,
        levels: int = 5,
        dtype: DTypeLike = jnp.float32,
        supervised: int = 0,
    ) -> "ResidualUNet":
        """One whose finest level has `width` features, each further one twice as many up to 320."""
        widths = blocks.doubled(width, levels, most=_MOST_FEATURES)
        return cls(num_outputs, widths, dtype, supervised)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | tuple[Array, ...]:
        x = x.astype(self.dtype)
        x = blocks.Conv(self.widths[0], dtype=self.dtype, name="stem")(x)
        x = nn.leaky_relu(blocks.InstanceNorm(dtype=self.dtype, name="stem_norm")(x), 0.01)
        skips, coarser = [], []
        for level, width in enumerate(self.widths):
            for i in range(BLOCKS[min(level, len(BLOCKS) - 1)]):
                stride = 2 if level and i == 0 else 1
                x = ResidualPair(width, stride, self.dtype, name=f"down{level}_{i}")(x)
            skips.append(x)
        for level in reversed(range(self.finest, len(self.widths) - 1)):
            width = self.widths[level]
            up = blocks.UpConv(width, dtype=self.dtype, name=f"up{level}")(x)
            x = jnp.concatenate([skips[level], up], axis=-1)
            x = blocks.Conv(width, dtype=self.dtype, name=f"merge{level}")(x)
            x = nn.leaky_relu(blocks.InstanceNorm(dtype=self.dtype, name=f"norm{level}")(x), 0.01)
            if self.finest < level <= self.finest + self.supervised:
                coarser.append(blocks.voxelwise(x, self.num_outputs, name=f"out{level}"))
        finest = blocks.voxelwise(x, self.num_outputs, name="out")
        return (finest, *reversed(coarser)) if train and self.supervised else finest

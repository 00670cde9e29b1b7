"""U-Net: Ronneberger et al. 2015 (arXiv 1505.04597), with instance norm, in 2-D and 3-D."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array


class DoubleConv(nn.Module):
    """Twice: 3-wide convolution, instance norm, leaky ReLU."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for i in (1, 2):
            x = blocks.Conv(self.features, use_bias=True, dtype=self.dtype, name=f"conv{i}")(x)
            x = blocks.InstanceNorm(dtype=self.dtype, name=f"norm{i}")(x)
            x = nn.leaky_relu(x, 0.1)
        return x


class UNet(nn.Module):
    """`[batch, *space, channel]` to `[batch, *space, num_outputs]`, linear.

    Each level pools by two on the way down; on the way up a 2-wide transposed convolution meets
    the features of the same size. Equal to MONAI's BasicUNet where the widths are its features.

    Attributes:
      num_outputs: maps of the last layer.
      widths: features of each level, the finest first; sides divide by `2 ** (len(widths) - 1)`.
      dtype: of the computation; parameters and output stay float32.
      supervised: in training it gives maps of so many coarser levels too, each half as large, for a
        loss of each (deep supervision, Lee et al. 2015).
      finest: the level at which it ends; its maps are smaller than the image by `2 ** finest`.
    """

    num_outputs: int
    widths: Sequence[int] = (32, 32, 64, 128, 256)
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
    ) -> "UNet":
        """One whose finest level has `width` features, each further one twice as many."""
        return cls(num_outputs, blocks.doubled(width, levels), dtype, supervised)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array | tuple[Array, ...]:
        x = x.astype(self.dtype)
        skips, coarser = [], []
        for level, width in enumerate(self.widths):
            x = blocks.max_pool(x, window=2, stride=2) if level else x
            x = DoubleConv(width, self.dtype, name=f"down{level}")(x)
            skips.append(x)
        for level in reversed(range(self.finest, len(self.widths) - 1)):
            narrow = x.shape[-1] // 2 if level else x.shape[-1]
            up = blocks.UpConv(narrow, dtype=self.dtype, name=f"up{level}")(x)
            x = jnp.concatenate([skips[level], up], axis=-1)
            x = DoubleConv(self.widths[level], self.dtype, name=f"merge{level}")(x)
            if self.finest < level <= self.finest + self.supervised:
                coarser.append(blocks.voxelwise(x, self.num_outputs, name=f"out{level}"))
        finest = blocks.voxelwise(x, self.num_outputs, name="out")
        return (finest, *reversed(coarser)) if train and self.supervised else finest

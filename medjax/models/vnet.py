"""V-Net: Milletari et al., 3DV 2016 (arXiv 1606.04797), in 2-D and 3-D."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

CONVOLUTIONS = (
    1,
    2,
    3,
    3,
    3,
)  # of each level on the way down, and of each but the last on the way up


class ResidualStage(nn.Module):
    """5-wide convolutions, whose input is added to what they make of it."""

    features: int
    convolutions: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        for i in range(self.convolutions):
            y = blocks.Conv(self.features, kernel=5, use_bias=True, dtype=self.dtype)(y)
            y = blocks.InstanceNorm(dtype=self.dtype)(y)
            y = nn.PReLU()(y) if i + 1 < self.convolutions else y
        return nn.PReLU()(x + y)  # a gray image is added to each feature


class VNet(nn.Module):
    """`[batch, *space, channel]` to `[batch, *space, num_outputs]`, linear.

    Levels are joined by 2-wide convolutions of stride 2 and their transposes. Normalisation, which
    the paper has none of, is by instance, so that batches may be small.

    Attributes:
      width: features of the finest level, twice as many at each further one; sides divide by
        `2 ** (levels - 1)`.
      dtype: of the computation; parameters and output stay float32.
    """

    num_outputs: int
    width: int = 16
    levels: int = 5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.astype(self.dtype)
        if x.shape[-1] > 1:  # only a gray image can be added to all features
            x = blocks.Conv(self.width, kernel=1, dtype=self.dtype, name="enter")(x)
        skips = []
        for level in range(self.levels):
            features = self.width * 2**level
            if level:
                x = nn.PReLU()(blocks.DownConv(features, self.dtype, name=f"to{level}")(x))
            count = CONVOLUTIONS[min(level, len(CONVOLUTIONS) - 1)]
            x = ResidualStage(features, count, self.dtype, name=f"down{level}")(x)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            features = self.width * 2**level
            up = nn.PReLU()(blocks.UpConv(features, self.dtype, name=f"from{level + 1}")(x))
            x = jnp.concatenate([skips[level], up], -1)
            count = CONVOLUTIONS[min(level, len(CONVOLUTIONS) - 1)]
            x = ResidualStage(2 * features, count, self.dtype, name=f"up{level}")(x)
        return blocks.voxelwise(x, self.num_outputs, name="out")

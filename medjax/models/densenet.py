"""DenseNet-121: Huang et al. 2017 (arXiv 1608.06993), in 2-D and 3-D."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array


class DenseLayer(nn.Module):
    """Norm, ReLU, 1-wide convolution to 4 x growth, norm, ReLU, 3-wide convolution to growth."""

    growth: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = nn.relu(blocks.Norm(dtype=self.dtype, name="norm1")(x, train=train))
        y = blocks.Conv(4 * self.growth, kernel=1, dtype=self.dtype, name="conv1")(y)
        y = nn.relu(blocks.Norm(dtype=self.dtype, name="norm2")(y, train=train))
        y = blocks.Conv(self.growth, dtype=self.dtype, name="conv2")(y)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(nn.Module):
    """A densely connected network: `[batch, *space, channel]` to logits `[batch, num_classes]`.

    Attributes are as in `ResNet`; `growth` is the features that each layer adds, and a transition
    halves both the features and the size between blocks.
    """

    num_classes: int
    depths: Sequence[int] = (6, 12, 24, 16)
    growth: int = 32
    stem: int = 64
    small_input: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.astype(self.dtype)
        kernel, stride = (3, 1) if self.small_input else (7, 2)
        x = blocks.Conv(self.stem, kernel, stride, dtype=self.dtype, name="conv0")(x)
        x = nn.relu(blocks.Norm(dtype=self.dtype, name="norm0")(x, train=train))
        if not self.small_input:
            x = blocks.max_pool(x, window=3, stride=2, pad=1)
        for b, depth in enumerate(self.depths, start=1):
            for i in range(1, depth + 1):
                x = DenseLayer(self.growth, self.dtype, name=f"block{b}_{i}")(x, train=train)
            if b < len(self.depths):
                x = blocks.Norm(dtype=self.dtype, name=f"transition{b}_norm")(x, train=train)
                x = nn.relu(x)
                x = blocks.Conv(
                    x.shape[-1] // 2, kernel=1, dtype=self.dtype, name=f"transition{b}_conv"
                )(x)
                x = blocks.avg_pool(x, window=2)
        x = nn.relu(blocks.Norm(dtype=self.dtype, name="norm5")(x, train=train))
        x = blocks.global_mean(x)
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

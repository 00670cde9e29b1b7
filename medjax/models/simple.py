"""The two networks to try first: a perceptron and a small convolutional one."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array


class MLP(nn.Module):
    """A perceptron on the flattened image; no notion of space, the weakest sensible baseline."""

    num_classes: int
    widths: Sequence[int] = (256, 128)
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.reshape(x.shape[0], -1).astype(self.dtype)
        for i, width in enumerate(self.widths, start=1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"dense{i}")(x))
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)


class CNN(nn.Module):
    """Convolution, norm, ReLU and pooling by two, once a width; then the mean over space.

    With `num_classes=0` the maps before that mean.
    """

    num_classes: int
    widths: Sequence[int] = (16, 32, 64, 128)
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.astype(self.dtype)
        for i, width in enumerate(self.widths, start=1):
            x = blocks.Conv(width, dtype=self.dtype, name=f"conv{i}")(x)
            x = nn.relu(blocks.Norm(dtype=self.dtype, name=f"bn{i}")(x, train=train))
            x = blocks.max_pool(x, window=2, stride=2) if min(x.shape[1:-1]) > 1 else x
        if not self.num_classes:
            return x
        x = blocks.global_mean(x)
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

"""Residual networks: He et al. 2016 (arXiv 1512.03385), in 2-D and 3-D, and a small slim one."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array


class BasicBlock(nn.Module):
    """Two 3-wide convolutions and a shortcut."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    expansion = 1

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        y = blocks.Conv(self.features, stride=self.stride, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(blocks.Norm(dtype=self.dtype, name="bn1")(y, train=train))
        y = blocks.Conv(self.features, dtype=self.dtype, name="conv2")(y)
        y = blocks.Norm(dtype=self.dtype, name="bn2")(y, train=train)
        return nn.relu(y + _shortcut(self, x, self.features, train))


class Bottleneck(nn.Module):
    """1, 3 and 1 wide convolutions, the stride on the middle one (as published weights have it)."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    expansion = 4

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        out = self.features * self.expansion
        y = blocks.Conv(self.features, kernel=1, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(blocks.Norm(dtype=self.dtype, name="bn1")(y, train=train))
        y = blocks.Conv(self.features, stride=self.stride, dtype=self.dtype, name="conv2")(y)
        y = nn.relu(blocks.Norm(dtype=self.dtype, name="bn2")(y, train=train))
        y = blocks.Conv(out, kernel=1, dtype=self.dtype, name="conv3")(y)
        y = blocks.Norm(dtype=self.dtype, name="bn3")(y, train=train)
        return nn.relu(y + _shortcut(self, x, out, train))


def _shortcut(block: BasicBlock | Bottleneck, x: Array, features: int, train: bool) -> Array:
    """The input itself, or projected where shape changes (option B of the paper)."""
    if block.stride == 1 and x.shape[-1] == features:
        return x
    y = blocks.Conv(
        features, kernel=1, stride=block.stride, dtype=block.dtype, name="downsample_0"
    )(x)
    return blocks.Norm(dtype=block.dtype, name="downsample_1")(y, train=train)


class ResNet(nn.Module):
    """A residual network for `[batch, *space, channel]` to logits `[batch, num_classes]`.

    Attributes:
      num_classes: outputs.
      depths: blocks in each stage; a stage halves the size (the first does not).
      widths: features of each stage, before the block's expansion.
      block: BasicBlock or Bottleneck.
      small_input: the 28-pixel stem (one 3-wide convolution) in place of the 224-pixel one (a
        7-wide of stride 2, then a pooling of stride 2).
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    depths: Sequence[int] = (2, 2, 2, 2)
    widths: Sequence[int] = (64, 128, 256, 512)
    block: Any = BasicBlock
    small_input: bool = False
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.astype(self.dtype)
        kernel, stride = (3, 1) if self.small_input else (7, 2)
        x = blocks.Conv(self.widths[0], kernel, stride, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(blocks.Norm(dtype=self.dtype, name="bn1")(x, train=train))
        if not self.small_input:
            x = blocks.max_pool(x, window=3, stride=2, pad=1)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for i in range(depth):
                stride = 2 if stage and i == 0 else 1
                x = self.block(width, stride, self.dtype, name=f"layer{stage + 1}_{i}")(
                    x, train=train
                )
        x = blocks.global_mean(x)
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

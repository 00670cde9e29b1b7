"""EfficientNet-B0: Tan and Le 2019 (arXiv 1905.11946), with squeeze and excitation, 2-D and 3-D.

Layers have the names that timm gives them, and its padding.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.models.efficientnet import LITE0, Stage, conv_norm
from medjax.typing import Array

_SQUEEZE = 4  # features of a block's input to one of its excitation


class ExcitedBottleneck(nn.Module):
    """As `efficientnet.InvertedBottleneck`, the wide features weighted by what all of the image
    says (Hu et al. 2018)."""

    stage: Stage
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = functools.partial(conv_norm, train=train, dtype=self.dtype, of_tensorflow=False)
        narrow, y = x.shape[-1], x
        wide, number = narrow * self.stage.expansion, 1
        if self.stage.expansion > 1:
            y, number = nn.silu(layer(y, wide, 1, 1, "conv_pw", "bn1")), 2
        depthwise = layer(
            y, wide, self.stage.kernel, self.stride, "conv_dw", f"bn{number}", groups=wide
        )
        y = self._excite(nn.silu(depthwise), narrow // _SQUEEZE)
        last = "conv_pwl" if self.stage.expansion > 1 else "conv_pw"
        y = layer(y, self.stage.features, 1, 1, last, f"bn{number + 1}")
        return x + y if x.shape == y.shape else y

    def _excite(self, x: Array, features: int) -> Array:
        mean = blocks.global_mean(x).astype(self.dtype)
        squeezed = nn.silu(nn.Dense(features, dtype=self.dtype, name="se_conv_reduce")(mean))
        factor = nn.sigmoid(
            nn.Dense(x.shape[-1], dtype=self.dtype, name="se_conv_expand")(squeezed)
        )
        return x * jnp.expand_dims(factor, tuple(range(1, x.ndim - 1)))


class EfficientNetB0(nn.Module):
    """`[batch, *space, channel]` to logits `[batch, num_classes]`.

    Attributes:
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = functools.partial(conv_norm, train=train, dtype=self.dtype, of_tensorflow=False)
        x = nn.silu(layer(x.astype(self.dtype), 32, 3, 2, "conv_stem", "bn1"))
        for number, stage in enumerate(LITE0):
            for i in range(stage.blocks):
                name, stride = f"blocks_{number}_{i}", 1 if i else stage.stride
                x = ExcitedBottleneck(stage, stride, self.dtype, name=name)(x, train=train)
        x = nn.silu(layer(x, 1280, 1, 1, "conv_head", "bn2"))
        return blocks.Head(self.num_classes, self.dropout, name="fc")(
            blocks.global_mean(x), train=train
        )

"""ConvNeXt: Liu et al. 2022 (arXiv 2201.03545), in 2-D and 3-D."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

_SCALE = 1e-6  # that a block starts with


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, 7 wide, and a dense layer to four times the features and back."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        y = blocks.Conv(width, 7, groups=width, use_bias=True, dtype=self.dtype, name="conv_dw")(x)
        y = blocks.layer_norm("layer_norm", self.dtype)(y)
        y = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="mlp_fc1")(y), approximate=False)
        y = nn.Dense(width, dtype=self.dtype, name="mlp_fc2")(y)
        gamma = self.param("gamma", nn.initializers.constant(_SCALE), (width,))
        return x + y * gamma.astype(self.dtype)


class ConvNeXt(nn.Module):
    """`[batch, *space, channel]` to logits `[batch, num_classes]`.

    Attributes:
      depths: blocks of each stage; widths: their features. A stage halves the size; the first has a
        quarter of the image's.
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    depths: Sequence[int] = (3, 3, 9, 3)
    widths: Sequence[int] = (96, 192, 384, 768)
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = x.astype(self.dtype)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage == 0:
                x = blocks.PatchConv(width, 4, dtype=self.dtype, name="stem_0")(x)
                x = blocks.layer_norm("stem_1", self.dtype)(x)
            else:
                x = blocks.layer_norm(f"stages_{stage}_downsample_0", self.dtype)(x)
                name = f"stages_{stage}_downsample_1"
                x = blocks.PatchConv(width, 2, dtype=self.dtype, name=name)(x)
            for i in range(depth):
                x = ConvNeXtBlock(self.dtype, name=f"stages_{stage}_blocks_{i}")(x)
        x = blocks.layer_norm("head_norm", jnp.float32)(blocks.global_mean(x))
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

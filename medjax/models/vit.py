"""Vision transformer: Dosovitskiy et al. 2021 (arXiv 2010.11929), in 2-D and 3-D, as DINOv2 has it
(Oquab et al. 2023, arXiv 2304.07193): patches of 14 a side, and a factor behind each half of a
block."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

_SCALE = 1e-5  # that halves of a block start with


class Attention(nn.Module):
    """Self-attention of several heads, `[batch, token, feature]` to the same."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, count, width = x.shape
        mixed = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(x)
        split = mixed.reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = (split[:, :, i] for i in range(3))
        y = jax.nn.dot_product_attention(query, key, value)
        return nn.Dense(width, dtype=self.dtype, name="proj")(y.reshape(x.shape))


class TransformerBlock(nn.Module):
    """Attention, and a dense layer to four times the features and back, each after a norm."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        y = Attention(self.heads, self.dtype, name="attn")(
            blocks.layer_norm("norm1", self.dtype)(x)
        )
        x = x + y * self._factor("ls1_gamma", width)
        y = nn.Dense(4 * width, dtype=self.dtype, name="mlp_fc1")(
            blocks.layer_norm("norm2", self.dtype)(x)
        )
        y = nn.Dense(width, dtype=self.dtype, name="mlp_fc2")(nn.gelu(y, approximate=False))
        return x + y * self._factor("ls2_gamma", width)

    def _factor(self, name: str, width: int) -> Array:
        return self.param(name, nn.initializers.constant(_SCALE), (width,)).astype(self.dtype)


class ViT(nn.Module):
    """`[batch, *space, channel]` to logits `[batch, num_classes]` of the class token.

    Sides that the patches do not divide are filled up with zeros behind.

    Attributes:
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    width: int = 384
    heads: int = 6
    depth: int = 12
    patch: int = 14
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        behind = [(0, -n % self.patch) for n in x.shape[1:-1]]
        x = jnp.pad(x.astype(self.dtype), [(0, 0), *behind, (0, 0)])
        x = blocks.PatchConv(self.width, self.patch, dtype=self.dtype, name="patch_embed_proj")(x)
        x = x.reshape(len(x), -1, self.width)  # [batch, token, feature]
        narrow = nn.initializers.normal(0.02)
        first = self.param("cls_token", narrow, (1, 1, self.width)).astype(self.dtype)
        place = self.param("pos_embed", narrow, (1, x.shape[1] + 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.width)), x], 1)
        x = x + place.astype(self.dtype)
        for i in range(self.depth):
            x = TransformerBlock(self.heads, self.dtype, name=f"blocks_{i}")(x)
        x = blocks.layer_norm("norm", jnp.float32)(x[:, 0])
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

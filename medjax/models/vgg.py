"""VGG-16: Simonyan and Zisserman 2015 (arXiv 1409.1556), in 2-D and 3-D."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, and their features
_SIDE, _WIDE = 7, 4096  # of what the dense layers take, and their features


class VGG(nn.Module):
    """`[batch, *space, channel]` to logits `[batch, num_classes]`, without batch normalisation.

    Attributes:
      dropout: before each of the three dense layers.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x, number = x.astype(self.dtype), 0  # layers are numbered as torchvision does
        for convolutions, features in _STAGES:
            for _ in range(convolutions):
                layer = blocks.Conv(
                    features, use_bias=True, dtype=self.dtype, name=f"features_{number}"
                )
                x, number = nn.relu(layer(x)), number + 2
            x, number = blocks.max_pool(x, window=2, stride=2), number + 1
        x = adaptive_mean(x, _SIDE)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1)  # channels first, as weights have them
        for number in (0, 3):
            x = nn.relu(nn.Dense(_WIDE, dtype=self.dtype, name=f"classifier_{number}")(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return blocks.Head(self.num_classes, name="fc")(x, train=train)


def adaptive_mean(x: Array, side: int) -> Array:
    """Means over windows that make every side of `[batch, *space, channel]` so long.

    Window i of n voxels starts at `floor(i n / side)` and ends before `ceil((i + 1) n / side)`, as
    in PyTorch; of fewer voxels windows repeat them.
    """
    for axis in range(1, x.ndim - 1):
        count = x.shape[axis]
        weight = np.zeros((side, count), np.float32)
        for i in range(side):
            window = slice(i * count // side, -(-(i + 1) * count // side))
            weight[i, window] = 1 / (window.stop - window.start)
        moved = jnp.tensordot(jnp.asarray(weight, x.dtype), x, (1, axis))
        x = jnp.moveaxis(moved, 0, axis)
    return x

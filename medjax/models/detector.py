"""A one-stage detector without anchors: a U-Net that ends early, and two heads."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.models.residual_unet import ResidualUNet
from medjax.models.unet import UNet
from medjax.typing import Array

BODIES: dict[str, Any] = {"unet": UNet, "resenc_unet": ResidualUNet}
_RARE = -4.6  # the logit of one in a hundred: how seldom a voxel is a peak (Lin et al. 2017)


class BoxMaps(NamedTuple):
    """What a detector gives.

    Attributes:
      logits: `[batch, *map, num_classes]`, of a peak of each class.
      distances: `[batch, *map, 2 * ndim]`, to the low and then the high sides, voxels of the map.
    """

    logits: Array
    distances: Array


class Detector(nn.Module):
    """`[batch, *space, channel]` to `BoxMaps`, smaller than the image by `2 ** finest`.

    The heads of CenterNet (Zhou et al. 2019) and FCOS (Tian et al. 2019), in 2-D and 3-D.

    Attributes:
      body: a name of `BODIES`.
      width: features of its finest level; levels: how many it has.
    """

    num_classes: int
    body: str = "unet"
    width: int = 16
    levels: int = 5
    finest: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> BoxMaps:
        ndim, features = x.ndim - 2, self.width * 2**self.finest
        widths = blocks.doubled(self.width, self.levels, most=320)
        body = BODIES[self.body](features, widths, self.dtype, finest=self.finest, name="body")
        shared = nn.leaky_relu(body(x, train=train), 0.1)
        logits = self._head(shared, self.num_classes, "heat", bias=_RARE)
        distances = self._head(shared, 2 * ndim, "sides", bias=1.0)
        return BoxMaps(logits, nn.softplus(distances))

    def _head(self, x: Array, outputs: int, name: str, *, bias: float) -> Array:
        x = blocks.Conv(x.shape[-1], use_bias=True, dtype=self.dtype, name=f"{name}_conv")(x)
        x = nn.leaky_relu(blocks.InstanceNorm(dtype=self.dtype, name=f"{name}_norm")(x), 0.1)
        last = blocks.Conv(
            outputs,
            kernel=1,
            use_bias=True,
            kernel_init=nn.initializers.normal(0.01),
            bias_init=nn.initializers.constant(bias),
            name=f"{name}_out",
        )
        return last(x.astype(jnp.float32))

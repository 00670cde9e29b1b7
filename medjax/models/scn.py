"""Networks for heatmap regression: Payer et al., MICCAI 2016 and Medical Image Analysis 54 (2019).

All map `[batch, *space, channel]` to one heatmap a landmark, `[batch, *space, num_outputs]`.
A product of two maps near zero has no gradient. The authors met that with a momentum of 0.99; here
the spatial part begins at one, so that training begins with local appearance alone.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.typing import Array

tiny_normal = nn.initializers.truncated_normal(1e-3)


class ConvOnly(nn.Module):
    """`conv` of the 2016 comparison: `depth` convolutions of 11 a side, then one of 1."""

    num_outputs: int
    width: int = 128
    depth: int = 6
    kernel: int = 11
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = _relu_convs(x.astype(self.dtype), self.width, self.kernel, self.depth, self.dtype)
        return _linear(x, self.num_outputs, 1)


class Downsampling(nn.Module):
    """`downsampling` of the 2016 comparison: heatmaps of a quarter of the size, enlarged."""

    num_outputs: int
    width: int = 128
    levels: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        space = x.shape[1:-1]
        x = x.astype(self.dtype)
        for level in range(self.levels):
            x = blocks.avg_pool(x, window=2) if level else x
            x = _relu_convs(x, self.width, 5, 2, self.dtype, name=f"level{level}")
        x = _linear(x, self.num_outputs, 1)
        return blocks.resize(x, space)


class SCN(nn.Module):
    """SpatialConfiguration-Net of 2016: local appearance times spatial configuration.

    Attributes:
      num_outputs: landmarks.
      width: features of each convolution.
      pool: the spatial part works on maps this many times smaller.
      reach: side of its kernels there.
      spatial: False leaves local appearance alone, the paper's ablation.
    """

    num_outputs: int
    width: int = 128
    pool: int = 8
    reach: int = 15
    spatial: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = _relu_convs(x.astype(self.dtype), self.width, 5, 3, self.dtype)
        local = _linear(x, self.num_outputs, 5, name="local")
        if not self.spatial:
            return local
        small = blocks.avg_pool(local, window=self.pool)
        config = OtherMaps(self.reach, name="spatial")(small)
        return local * blocks.resize(config, x.shape[1:-1])


class OtherMaps(nn.Module):
    """Each landmark's map from those of all others: a convolution whose diagonal is zero."""

    kernel: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        n, ndim = x.shape[-1], x.ndim - 2
        size = (self.kernel,) * ndim
        weight = self.param("kernel", tiny_normal, (*size, n, n)) * (1.0 - jnp.eye(n))
        bias = self.param("bias", nn.initializers.ones, (n,))
        return blocks.convolve(x, weight) + bias


class SCN2019(nn.Module):
    """SpatialConfiguration-Net of 2019: the local part is U-shaped, the spatial part has depth.

    Attributes:
      num_outputs: landmarks.
      width: features of every convolution.
      levels: sizes of the local part; skips are added, not joined.
      pool, reach: as in `SCN`; the spatial part ends in tanh.
      dropout: between the two convolutions of a block.
    """

    num_outputs: int
    width: int = 128
    levels: int = 4
    pool: int = 16
    reach: int = 11
    dropout: float = 0.5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def conv(x: Array, name: str, kernel: int = 3) -> Array:
            x = blocks.Conv(self.width, kernel, use_bias=True, dtype=self.dtype, name=name)(x)
            return nn.leaky_relu(x, 0.1)

        x = conv(x.astype(self.dtype), "first")
        sides = []
        for level in range(self.levels):
            x = conv(blocks.avg_pool(x, window=2) if level else x, f"down{level}_a")
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = conv(x, f"down{level}_b")
            sides.append(conv(x, f"side{level}"))
        x = sides.pop()
        for level, side in reversed(list(enumerate(sides))):
            x = conv(side + blocks.resize(x, side.shape[1:-1]), f"up{level}")
        local = _linear(x, self.num_outputs, 3, name="local")
        small = blocks.avg_pool(local, window=self.pool).astype(self.dtype)
        for i in range(3):
            small = conv(small, f"spatial{i}", self.reach)
        config = jnp.tanh(_linear(small, self.num_outputs, self.reach, bias=1.0, name="spatial"))
        return local * blocks.resize(config, x.shape[1:-1], method="cubic")


def _relu_convs(
    x: Array, width: int, kernel: int, count: int, dtype: DTypeLike, name: str = "conv"
) -> Array:
    for i in range(count):
        x = nn.relu(blocks.Conv(width, kernel, use_bias=True, dtype=dtype, name=f"{name}_{i}")(x))
    return x


def _linear(x: Array, features: int, kernel: int, *, bias: float = 0.0, name: str = "out") -> Array:
    """The layer that ends in heatmaps, in float32, small at first."""
    return blocks.Conv(
        features,
        kernel,
        use_bias=True,
        kernel_init=tiny_normal,
        bias_init=nn.initializers.constant(bias),
        name=name,
    )(x.astype(jnp.float32))

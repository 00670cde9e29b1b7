"""Networks that register: from a fixed and a moving image to a displacement field.

Each maps `[batch, *space, 2]`, the fixed image first, to displacements `[batch, *space / 2, ndim]`
in voxels of that coarser grid. Untrained, they answer with the identity exactly.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.ops import field
from medjax.typing import Array

_warp = jax.vmap(field.warp)
_compose = jax.vmap(field.compose)
FINEST = 1  # the level of the answer: half of the sides


class ConvBlock(nn.Module):
    """A 3-wide convolution and leaky ReLU, with instance norm between them where `norm` says so."""

    features: int
    dtype: DTypeLike = jnp.float32
    norm: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = blocks.Conv(self.features, use_bias=True, dtype=self.dtype, name="conv")(x)
        x = blocks.InstanceNorm(dtype=self.dtype, name="norm")(x) if self.norm else x
        return nn.leaky_relu(x, 0.2)


class Flow(nn.Module):
    """The last layer: a field in float32, zero before training, integrated if `steps` is not 0."""

    ndim: int
    steps: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = blocks.Conv(self.ndim, use_bias=True, kernel_init=nn.initializers.zeros, name="conv")
        velocity = conv(x.astype(jnp.float32))
        return jax.vmap(lambda v: field.integrate(v, steps=self.steps))(velocity)


class VoxelMorph(nn.Module):
    """One U-Net over both images: Balakrishnan et al., IEEE TMI 38 (2019), arXiv 1809.05231.

    Its decoder ends at half of the sides, as the diffeomorphic form of Dalca et al. (arXiv
    1903.03545) integrates there.

    Attributes:
      width: features of all layers but the first, which has half as many.
      levels: sizes that it works at; sides divide by `2 ** (levels - 1)`.
      steps: squarings of the integration; 0: the field is a displacement.
    """

    width: int = 32
    levels: int = 5
    steps: int = 7
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        ndim = x.ndim - 2
        x = x.astype(self.dtype)
        skips = []
        for level in range(self.levels):
            x = blocks.max_pool(x, window=2, stride=2) if level else x
            width = self.width if level else self.width // 2
            x = ConvBlock(width, self.dtype, name=f"down{level}")(x)
            skips.append(x)
        for level in reversed(range(FINEST, self.levels - 1)):
            x = blocks.resize(x, skips[level].shape[1:-1], method="nearest")
            x = jnp.concatenate([x, skips[level]], -1)
            x = ConvBlock(self.width, self.dtype, name=f"up{level}")(x)
        for i in range(2):
            x = ConvBlock(self.width, self.dtype, name=f"last{i}")(x)
        return Flow(ndim, self.steps, name="flow")(x)


class DualStreamPyramid(nn.Module):
    """One encoder for each image, and a field that is refined from coarse to fine.

    At each level the features of the moving image are warped by the field so far, and what is left
    is estimated from both: after Hu et al., Dual-stream pyramid registration network (Medical Image
    Analysis 78, 2022; arXiv 1909.11966). Each residual is integrated by itself, so that the
    composition of all is as free of folds as each of them.

    Attributes:
      width: features of the finest level; the next have twice as many, up to four times.
      levels, steps: as of `VoxelMorph`.
    """

    width: int = 16
    levels: int = 5
    steps: int = 7
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        ndim, batch = x.ndim - 2, x.shape[0]
        # Both images go through one program: in turn, as all fixed ones before all moving ones
        # would have to be exchanged between the devices that a batch is split over.
        both = jnp.moveaxis(x, -1, 1).reshape(2 * batch, *x.shape[1:-1], 1)
        features = self._encode(both.astype(self.dtype))
        u = jnp.zeros((batch, *features[-1].shape[1:-1], ndim))
        for level in reversed(range(FINEST, self.levels)):
            space = features[level].shape[1:-1]
            if u.shape[1:-1] != space:
                u = jax.vmap(lambda v, space=space: field.resize(v, space=space))(u)
            pair = features[level].reshape(batch, 2, *space, -1)
            fixed, moving = pair[:, 0], _warp(pair[:, 1], u)
            x = jnp.concatenate([fixed, moving, (u * 0.1).astype(self.dtype)], -1)
            for i in range(2):
                x = ConvBlock(2 * self.width, self.dtype, name=f"match{level}_{i}")(x)
            u = _compose(Flow(ndim, self.steps, name=f"flow{level}")(x), u)
        return u

    def _encode(self, x: Array) -> Sequence[Array]:
        """Features of each level, the finest first."""
        out = []
        for level in range(self.levels):
            x = blocks.avg_pool(x, window=2) if level else x
            width = min(self.width * 2 ** max(level - 1, 0), 4 * self.width)
            width = width if level else self.width // 2
            x = ConvBlock(width, self.dtype, norm=True, name=f"encode{level}")(x)
            out.append(x)
        return out

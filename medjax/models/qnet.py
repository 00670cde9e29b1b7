"""The network of landmark-search agents: from crops about each agent to the value of its moves."""

import chex
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.ops.conv import conv_general_dilated
from medjax.typing import Array

TRUNKS = ("patches", "convolutions")
_CONVOLUTIONS = ((32, 5), (32, 5), (64, 4), (64, 3))  # features and kernel; pooled in between
SMALLEST_CROP = 35  # that these leave something of


class QNetwork(nn.Module):
    """One trunk for all landmarks, and a head of its own for each.

    The trunk `patches` cuts the crop into patches that do not overlap and multiplies them by one
    matrix: a convolution whose stride is its kernel, in the form that a CPU is fast at; then comes
    a convolution. `convolutions` is the one of Alansary et al. 2019. Dense layers follow, which
    keep where things are.

    Attributes:
      num_landmarks, num_actions: heads, and outputs of each.
      trunk: `patches` or `convolutions`.
      patch: side of a patch; the sides of the crop divide by it.
      width: features of the patches; twice as many of the convolution.
      hidden: features of the dense layers.
      num_levels: scales of the search; the network is told the agent's.
      dueling: value and advantage apart (Wang et al. 2016).
      communicate: each agent also sees the mean over all agents of the same volume of what their
        heads make of their crops (Leroy et al. 2020, doi 10.1007/978-3-030-66843-3_18).
    """

    num_landmarks: int
    num_actions: int
    trunk: str = "patches"
    patch: int = 3
    width: int = 32
    hidden: int = 128
    num_levels: int = 1
    dueling: bool = False
    communicate: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, crops: Array, level: Array) -> Array:
        """`[batch, landmark, *crop, history]` and `[batch, landmark]` to Q `[batch, landmark,
        action]`."""
        chex.assert_rank([crops, level], [{5, 6}, 2])
        x = crops.reshape(-1, *crops.shape[2:]).astype(self.dtype)
        x = self.convolutions(x) if self.trunk == "convolutions" else self.patches(x)
        x = x.reshape(*level.shape, -1)
        level_code = nn.Embed(self.num_levels, self.hidden, dtype=self.dtype, name="level")(level)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="shared")(x) + level_code)
        x = nn.relu(self.dense_per_landmark("own", self.hidden)(x))
        if self.communicate:
            message = jnp.broadcast_to(x.mean(1, keepdims=True), x.shape)
            x = nn.relu(
                self.dense_per_landmark("heard", self.hidden)(jnp.concatenate([x, message], -1))
            )
        advantage = self.dense_per_landmark("advantage", self.num_actions)(x).astype(jnp.float32)
        if not self.dueling:
            return advantage
        value = self.dense_per_landmark("value", 1)(x).astype(jnp.float32)
        return value + advantage - advantage.mean(-1, keepdims=True)

    def patches(self, x: Array) -> Array:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="patch")(patches(x, self.patch)))
        return nn.relu(blocks.Conv(2 * self.width, use_bias=True, dtype=self.dtype, name="conv")(x))

    def convolutions(self, x: Array) -> Array:
        ndim = x.ndim - 2
        for i, (features, kernel) in enumerate(_CONVOLUTIONS, start=1):
            last = i == len(_CONVOLUTIONS)
            x = nn.Conv(
                features,
                (kernel,) * ndim,
                padding=0 if last else 1,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv{i}",
            )(x)
            x = nn.relu(x)
            x = x if last else blocks.max_pool(x, window=2, stride=2)
        return x

    def dense_per_landmark(self, name: str, features: int) -> nn.Module:
        """A dense layer with weights of its own for every landmark, `[batch, landmark, in]`."""
        dense = nn.vmap(
            nn.Dense,
            in_axes=1,
            out_axes=1,
            axis_size=self.num_landmarks,
            variable_axes={"params": 0},
            split_rngs={"params": True},
        )
        return dense(features, dtype=self.dtype, name=name)


def patches(x: Array, side: int) -> Array:
    """`[batch, *space, channel]` to `[batch, *(space / side), side ** ndim * channel]`."""
    ndim = x.ndim - 2
    split = [n for s in x.shape[1:-1] for n in (s // side, side)]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    order = [0, *range(1, 2 * ndim, 2), *range(2, 2 * ndim + 1, 2), 2 * ndim + 1]
    return x.transpose(order).reshape(x.shape[0], *split[::2], -1)

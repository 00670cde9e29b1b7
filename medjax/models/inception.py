"""Inception-v3: Szegedy et al. 2016 (arXiv 1512.00567), 2-D, without its auxiliary answer."""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.models import blocks
from medjax.ops.conv import conv_general_dilated
from medjax.typing import Array

_EPSILON = 1e-3  # of batch normalisation


class ConvNorm(nn.Module):
    """A convolution of any two sides, its normalisation, and ReLU.

    Attributes:
      padded: by half the kernel; else the size shrinks.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        x = nn.Conv(
            self.features,
            self.kernel,
            (self.stride,) * 2,
            padding=[(n // 2 * self.padded,) * 2 for n in self.kernel],
            use_bias=False,
            dtype=self.dtype,
            kernel_init=blocks.he_normal,
            conv_general_dilated=conv_general_dilated,
            name="conv",
        )(x)
        return nn.relu(blocks.Norm(self.dtype, epsilon=_EPSILON, name="bn")(x, train=train))


# A branch: its layers by name, as (name, features, kernel, stride); strided ones are not padded.
_Layer = tuple[str, int, tuple[int, int], int]


def _pointwise(name: str, features: int) -> list[_Layer]:
    return [(name, features, (1, 1), 1)]


def _wide(pool: int) -> list[list[_Layer]]:
    """Inception module A: figure 5 of the paper."""
    return [
        _pointwise("branch1x1", 64),
        [*_pointwise("branch5x5_1", 48), ("branch5x5_2", 64, (5, 5), 1)],
        [
            *_pointwise("branch3x3dbl_1", 64),
            ("branch3x3dbl_2", 96, (3, 3), 1),
            ("branch3x3dbl_3", 96, (3, 3), 1),
        ],
        _pointwise("branch_pool", pool),
    ]


def _factored(width: int) -> list[list[_Layer]]:
    """Module B: figure 6, a 7 x 7 as 1 x 7 and 7 x 1."""
    row, column, name = (1, 7), (7, 1), "branch7x7dbl_{}"
    double = [
        (name.format(2), width, column, 1),
        (name.format(3), width, row, 1),
        (name.format(4), width, column, 1),
        (name.format(5), 192, row, 1),
    ]
    return [
        _pointwise("branch1x1", 192),
        [
            *_pointwise("branch7x7_1", width),
            ("branch7x7_2", width, row, 1),
            ("branch7x7_3", 192, column, 1),
        ],
        [*_pointwise(name.format(1), width), *double],
        _pointwise("branch_pool", 192),
    ]


_SHRINK_A: list[list[_Layer]] = [
    [("branch3x3", 384, (3, 3), 2)],
    [
        *_pointwise("branch3x3dbl_1", 64),
        ("branch3x3dbl_2", 96, (3, 3), 1),
        ("branch3x3dbl_3", 96, (3, 3), 2),
    ],
]
_SHRINK_B: list[list[_Layer]] = [
    [*_pointwise("branch3x3_1", 192), ("branch3x3_2", 320, (3, 3), 2)],
    [
        *_pointwise("branch7x7x3_1", 192),
        ("branch7x7x3_2", 192, (1, 7), 1),
        ("branch7x7x3_3", 192, (7, 1), 1),
        ("branch7x7x3_4", 192, (3, 3), 2),
    ],
]


class Mixed(nn.Module):
    """Branches side by side; the last is pooled first, or is the pooling alone.

    Attributes:
      branches: their layers; shrinks: the size is halved.
    """

    branches: tuple[tuple[_Layer, ...], ...]
    shrinks: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        out = []
        for layers in self.branches:
            y = _mean_3(x) if layers[0][0] == "branch_pool" else x
            for name, features, kernel, stride in layers:
                layer = ConvNorm(features, kernel, stride, stride == 1, self.dtype, name=name)
                y = layer(y, train=train)
            out.append(y)
        if self.shrinks:
            out.append(blocks.max_pool(x, window=3, stride=2))
        return jnp.concatenate(out, -1)


class Expanded(nn.Module):
    """Module C: figure 7, whose 3 x 3 ends in 1 x 3 and 3 x 1 side by side."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def layer(y: Array, name: str, features: int, kernel: tuple[int, int] = (1, 1)) -> Array:
            return ConvNorm(features, kernel, dtype=self.dtype, name=name)(y, train=train)

        def both(y: Array, name: str) -> list[Array]:
            return [layer(y, f"{name}a", 384, (1, 3)), layer(y, f"{name}b", 384, (3, 1))]

        single = layer(x, "branch3x3_1", 384)
        double = layer(layer(x, "branch3x3dbl_1", 448), "branch3x3dbl_2", 384, (3, 3))
        parts = [
            layer(x, "branch1x1", 320),
            *both(single, "branch3x3_2"),
            *both(double, "branch3x3dbl_3"),
            layer(_mean_3(x), "branch_pool", 192),
        ]
        return jnp.concatenate(parts, -1)


def _mean_3(x: Array) -> Array:
    """Means over 3 x 3, zeros beyond the edge."""
    return nn.avg_pool(x, (3, 3), padding=((1, 1), (1, 1)))


_MIXED = (
    ("5b", _wide(32), False),
    ("5c", _wide(64), False),
    ("5d", _wide(64), False),
    ("6a", _SHRINK_A, True),
    ("6b", _factored(128), False),
    ("6c", _factored(160), False),
    ("6d", _factored(160), False),
    ("6e", _factored(192), False),
    ("7a", _SHRINK_B, True),
)


class InceptionV3(nn.Module):
    """`[batch, height, width, channel]` to logits `[batch, num_classes]`; 75 pixels a side or more.

    Attributes:
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = functools.partial(ConvNorm, dtype=self.dtype)
        x = x.astype(self.dtype)
        x = layer(32, (3, 3), 2, False, name="Conv2d_1a_3x3")(x, train=train)
        x = layer(32, (3, 3), 1, False, name="Conv2d_2a_3x3")(x, train=train)
        x = layer(64, (3, 3), name="Conv2d_2b_3x3")(x, train=train)
        x = blocks.max_pool(x, window=3, stride=2)
        x = layer(80, padded=False, name="Conv2d_3b_1x1")(x, train=train)
        x = layer(192, (3, 3), 1, False, name="Conv2d_4a_3x3")(x, train=train)
        x = blocks.max_pool(x, window=3, stride=2)
        for name, branches, shrinks in _MIXED:
            fixed = tuple(map(tuple, branches))
            x = Mixed(fixed, shrinks, self.dtype, name=f"Mixed_{name}")(x, train=train)
        for name in ("7b", "7c"):
            x = Expanded(self.dtype, name=f"Mixed_{name}")(x, train=train)
        x = blocks.global_mean(x)
        return blocks.Head(self.num_classes, self.dropout, name="fc")(x, train=train)

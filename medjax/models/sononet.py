"""SonoNet (Baumgartner et al., IEEE TMI 2017), and the authors' published weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.errors import UserError
from medjax.models import blocks
from medjax.typing import Array

PLANES = (
    "3VV",
    "4CH",
    "ABDOMINAL",
    "Background",
    "BRAIN-CB",
    "BRAIN-TV",
    "FEMUR",
    "KIDNEYS",
    "LIPS",
    "LVOT",
    "PROFILE",
    "RVOT",
    "SPINE-CORONAL",
    "SPINE-SAGITTAL",
)
SIZE = (224, 288)  # height and width of its input
EPSILON = 1e-5  # of `blocks.Norm`


class SonoNet(nn.Module):
    """Thirteen 3 x 3 convolutions as in VGG, two 1 x 1, and the mean of the class maps.

    `[batch, height, width, channel]` to logits `[batch, num_classes]`. Every convolution has a
    batch norm, also the last, and all but that a ReLU.

    Attributes:
      width: features of the first stage: 16, 32 or 64.
      relu: `ops.guided.guided_relu` for guided back-propagation.
    """

    num_classes: int = len(PLANES)
    width: int = 16
    dropout: float = 0.0
    relu: Callable[[Array], Array] = nn.relu
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, maps: bool = False) -> Array:
        """With `maps`, the class maps `[batch, height / 16, width / 16, num_classes]`."""
        x, number = x.astype(self.dtype), 0
        for stage, (count, factor) in enumerate(((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))):
            x = blocks.max_pool(x, window=2, stride=2) if stage else x
            for _ in range(count):
                number += 1
                x = self.relu(self._layer(x, self.width * factor, number, train=train))
        x = self.relu(self._layer(x, self.width * 4, number + 1, kernel=1, train=train))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = self._layer(x, self.num_classes, number + 2, kernel=1, train=train)
        return x if maps else blocks.global_mean(x)

    def _layer(
        self, x: Array, features: int, number: int, *, kernel: int = 3, train: bool
    ) -> Array:
        x = blocks.Conv(features, kernel, dtype=self.dtype, name=f"conv{number}")(x)
        return blocks.Norm(dtype=self.dtype, name=f"bn{number}")(x, train=train)


class SmallNet(nn.Module):
    """The paper's small network: four convolutions without batch norm, large steps."""

    num_classes: int = len(PLANES)
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, maps: bool = False) -> Array:
        def layer(x: Array, features: int, kernel: int, stride: int, number: int) -> Array:
            return blocks.Conv(
                features, kernel, stride, use_bias=True, dtype=self.dtype, name=f"conv{number}"
            )(x)

        x = x.astype(self.dtype)
        x = blocks.max_pool(nn.relu(layer(x, 32, 7, 2, 1)), window=2, stride=2)
        x = blocks.max_pool(nn.relu(layer(x, 64, 5, 2, 2)), window=2, stride=2)
        for number in (3, 4):
            x = nn.relu(layer(x, 128, 3, 1, number))
        x = nn.relu(layer(x, 64, 1, 1, 5))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = layer(x, self.num_classes, 1, 1, 6)
        return x if maps else blocks.global_mean(x)


def read(path: Path) -> list[np.ndarray]:
    """The arrays of the authors' `.npz`, in the order of Lasagne: of each convolution W, beta,
    gamma, mean and inv_std.

    Raises:
      UserError: if the file is not of that form.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[f"arr_{i}"] for i in range(len(file.files))]
    except Exception as e:  # numpy, zip and lookups each have exceptions of their own
        raise UserError(f"{path}: not a readable .npz with arrays arr_0, arr_1, ... ({e})") from e
    if len(arrays) != 75 or arrays[0].ndim != 4:
        raise UserError(f"{path}: has {len(arrays)} arrays where a SonoNet has 75")
    return arrays


def width_of(arrays: list[np.ndarray]) -> int:
    """16, 32 or 64: the features of the first convolution."""
    return int(arrays[0].shape[0])


def from_lasagne(
    variables: Mapping[str, Any], arrays: list[np.ndarray], *, head: bool = True
) -> Any:
    """`variables` of a `SonoNet` with the authors' values; values change, structure never.

    Their kernels are correlations, as ours. They keep 1 / sd where we keep the variance.

    Args:
      head: also the last convolution; without it, that keeps its values.

    Raises:
      UserError: if an array does not fit; it names the layer.
    """

    def convert(path: Any, leaf: Any) -> Any:
        module, name = path[1].key, path[-1].key
        number = int(module.removeprefix("conv").removeprefix("bn")) - 1
        if number == 14 and not head:
            return leaf
        w, beta, gamma, mean, inverse_sd = arrays[5 * number : 5 * number + 5]
        value = {
            "kernel": w.transpose(2, 3, 1, 0),
            "bias": beta,
            "scale": gamma,
            "mean": mean,
            "var": 1.0 / inverse_sd.astype(np.float64) ** 2 - EPSILON,
        }[name]
        if value.shape != leaf.shape:
            raise UserError(
                f"layer {module}: the weights have shape {value.shape} where {leaf.shape} is needed"
            )
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(convert, variables)

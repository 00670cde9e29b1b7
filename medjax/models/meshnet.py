"""MeshNet: dilated convolutions at full size (Fedorov et al. 2017, arXiv 1612.00940)."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike

from medjax.errors import UserError
from medjax.ops.conv import conv_general_dilated
from medjax.typing import Array


class MeshNet(nn.Module):
    """`[batch, *space, channel]` to `[batch, *space, num_outputs]`, linear.

    Every layer is 3 wide and has its own dilation: the last one sees 93 voxels without pooling.
    5,598 parameters for gray volumes, three outputs and the width 5.

    Attributes:
      width: features of each layer.
      dilations: of each layer.
    """

    num_outputs: int
    width: int = 5
    dilations: Sequence[int] = (1, 2, 4, 8, 16, 8, 4, 2, 1)
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        ndim = x.ndim - 2
        for i, dilation in enumerate(self.dilations):
            layer = nn.Conv(
                self.width,
                (3,) * ndim,
                kernel_dilation=dilation,
                dtype=self.dtype,
                conv_general_dilated=conv_general_dilated,
                name=f"conv_{i}",
            )
            x = nn.relu(layer(x))
        return nn.Conv(self.num_outputs, (1,) * ndim, name="output")(x.astype(jnp.float32))


def published_weights(variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    """`variables` with weights as Keras names them: `NUMBER.kernel`, ascending, and `output`.

    Raises:
      UserError: if there are more or fewer layers, or another shape.
    """
    numbers = sorted({int(name.split(".")[0]) for name in tensors if name[0].isdigit()})
    stored = {f"conv_{i}": str(n) for i, n in enumerate(numbers)} | {"output": "output"}
    layers = variables["params"]
    if set(stored) != set(layers):
        raise UserError(f"the weights have {len(stored)} layers where {len(layers)} are needed")

    def take(path: Any, leaf: Any) -> np.ndarray:
        layer, kind = (part.key for part in path)
        value = tensors[f"{stored[layer]}.{kind}"]
        if value.shape != leaf.shape:
            raise UserError(f"{layer} has the shape {value.shape} where {leaf.shape} is needed")
        return value

    return {"params": jax.tree_util.tree_map_with_path(take, layers)}

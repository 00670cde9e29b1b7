"""Weights that others trained: PyTorch names and layouts to ours.

Takes a state dict as torchvision, timm and MONAI lay it out for ResNet and DenseNet, as a plain
mapping from names to numpy arrays, as `tensor_files.read` gives it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.errors import UserError
from medjax.models import tensor_files
from medjax.typing import Key, Params, Stats

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_WRAPPERS = ("conv", "norm", "linear")  # our names for the flax layer inside a block
_HEADS = ("fc", "classifier", "class_layers.out", "head.fc", "_fc")


def torch_names(path: tuple[str, ...]) -> list[str]:
    """The names that the array at `path` of our variables may have in a state dict."""
    *modules, leaf = path
    if modules and modules[-1] in _WRAPPERS:
        modules = modules[:-1]
    end = _LEAVES[leaf]
    if modules[0] == "fc":
        return [f"{head}.{end}" for head in _HEADS]
    first = re.sub(r"^(layer\d+|blocks)_(\d+)$", r"\1.\2", modules[0])
    dense = re.match(r"^block(\d+)_(\d+)$", first)
    step = re.match(r"^transition(\d+)_(norm|conv)$", first)
    rest = [re.sub(r"_(\d+)$", r".\1", m) for m in modules[1:]]
    if dense:
        layer = f"features.denseblock{dense[1]}.denselayer{dense[2]}"
        return [".".join([layer, *rest, end]), ".".join([layer, "layers", *rest, end])]
    if step:
        return [f"features.transition{step[1]}.{step[2]}.{end}"]
    name = ".".join([first, *rest, end])
    # EfficientNet as PyTorch's users have it: `_blocks.0._bn1`.
    marked = ".".join([*(f"_{m}" for m in (first, *rest)), end])
    return [name, f"features.{name}", marked]


def from_torch(
    variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, head: bool = True
) -> Any:
    """`variables` with values from `tensors`; values change, structure never.

    Args:
      variables: params and batch_stats, as of `init` or `eval_shape`.
      tensors: a state dict as numpy arrays.
      head: also the last layer; without it, that keeps its values.

    Raises:
      UserError: if an array is missing, is too many, or its shape does not fit; it names the array.
    """
    used: set[str] = set()

    def convert(path: Any, leaf: Any) -> Any:
        names = tuple(p.key for p in path[1:])
        if names[0] == "fc" and not head:
            return leaf
        known = [n for n in torch_names(names) if n in tensors]
        if not known:
            raise UserError(f"the weights lack {torch_names(names)[0]!r}; another architecture?")
        used.add(known[0])
        value = np.asarray(tensors[known[0]])
        if names[-1] == "kernel":  # [out, in, *space] -> [*space, in, out]
            value = value.transpose(*range(2, value.ndim), 1, 0)
        if value.shape != leaf.shape:
            raise UserError(f"{known[0]!r} has shape {value.shape} where {leaf.shape} is needed")
        return value.astype(leaf.dtype)

    converted = jax.tree_util.tree_map_with_path(convert, variables)
    odd = sorted(name for name in set(tensors) - used if not _may_stay(name))
    if odd:
        raise UserError(
            f"the weights have {odd[0]!r}, which the network has not: {len(odd)} "
            "arrays too many; another architecture?"
        )
    return converted


def _may_stay(name: str) -> bool:
    """Whether an array may be left: of a last layer, or a counter that nothing depends on."""
    return name.rpartition(".")[0] in _HEADS or name.endswith("num_batches_tracked")


def start_from(
    path: Path, init: Callable[[Key], tuple[Params, Stats]]
) -> Callable[[Key], tuple[Params, Stats]]:
    """The same initialisation, with published weights below the last layer."""
    tensors = tensor_files.read(path)

    def init_from_tensors(key: Key) -> tuple[Params, Stats]:
        params, stats = init(key)
        variables = from_torch({"params": params, "batch_stats": stats}, tensors, head=False)
        return variables["params"], variables.get("batch_stats", {})

    return init_from_tensors

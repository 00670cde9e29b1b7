"""Weights that others trained: PyTorch names and layouts to ours.

Takes a state dict as torchvision, timm and MONAI lay it out for ResNet and DenseNet, as a plain
mapping from names to numpy arrays, as `tensor_files.read` gives it.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from medjax.errors import UserError

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_WRAPPERS = ("conv", "norm", "linear")  # our names for the flax layer inside a block
_SHOWN = 10  # arrays of a message
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

    A network of gray images gets the sum of the first kernels for red, green and blue: as if the
    image were repeated in all three.

    Args:
      variables: params and batch_stats, as of `init` or `eval_shape`.
      tensors: a state dict as numpy arrays.
      head: also the last layer; without it, that keeps its values.

    Raises:
      UserError: if arrays are missing, are too many, or have other shapes; it names the first ten.
    """
    used: set[str] = set()
    missing: list[str] = []
    shapes: list[str] = []

    def convert(path: Any, leaf: Any) -> Any:
        names = tuple(p.key for p in path[1:])
        if names[0] == "fc" and not head:
            return leaf
        known = [n for n in torch_names(names) if n in tensors]
        if not known:
            missing.append(torch_names(names)[0])
            return leaf
        used.add(known[0])
        value = np.asarray(tensors[known[0]])
        if names[-1] == "kernel":  # [out, in, *space] -> [*space, in, out]
            value = value.transpose(*range(2, value.ndim), 1, 0)
            if value.shape[-2] == 3 and leaf.shape[-2] == 1:
                value = value.sum(-2, keepdims=True)
        if value.shape != leaf.shape:
            shapes.append(f"{known[0]!r} has shape {value.shape} where {leaf.shape} is needed")
            return leaf
        return value.astype(leaf.dtype)

    converted = jax.tree_util.tree_map_with_path(convert, variables)
    odd = sorted(name for name in set(tensors) - used if not _may_stay(name))
    if missing or shapes or odd:
        raise UserError(f"{_misfit(missing, shapes, odd)}: another architecture?")
    return converted


def _misfit(missing: list[str], shapes: list[str], odd: list[str]) -> str:
    """What does not fit, in one line."""
    parts = _some(shapes)
    if missing:
        near = difflib.get_close_matches(missing[0], odd, 1)
        like = f" (nearest to the first: {near[0]!r})" if near else ""
        parts.insert(0, f"the weights lack {', '.join(_some(list(map(repr, missing))))}{like}")
    if odd:
        named = ", ".join(_some(list(map(repr, odd))))
        parts.append(f"the weights have {named}, arrays too many")
    return "; ".join(parts)


def _some(items: list[str]) -> list[str]:
    """The first ten, and how many more there are."""
    more = len(items) - _SHOWN
    return [*items[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _may_stay(name: str) -> bool:
    """Whether an array may be left: of a last layer, or a counter that nothing depends on."""
    return name.rpartition(".")[0] in _HEADS or name.endswith("num_batches_tracked")

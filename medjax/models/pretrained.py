"""Weights that others trained: PyTorch names and layouts to ours.

Takes a state dict as torchvision, timm, MONAI, torchxrayvision and DINOv2 lay it out, as a plain
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
    "ls1_gamma": "ls1.gamma",
    "ls2_gamma": "ls2.gamma",
}
_WRAPPERS = ("conv", "norm", "linear")  # our names for the flax layer inside a block
_SHOWN = 10  # arrays of a message
_HEADS = (
    "fc",
    "classifier",
    "class_layers.out",
    "head.fc",
    "_fc",
    "head",
    "classifier.2",
    "classifier.6",
    "classifier.1",
)
_LEFT = ("AuxLogits.", "mask_token", "op_threshs")  # what serves training alone
_PLACES = "pos_embed"


def torch_names(path: tuple[str, ...]) -> list[str]:
    """The names that the array at `path` of our variables may have in a state dict."""
    *modules, leaf = path
    end = _LEAVES.get(leaf, leaf)
    inside = len(modules) > 1 and modules[-1] in _WRAPPERS
    short = modules[:-1] if inside else modules
    if modules[:1] == ["fc"]:
        return [f"{head}.{end}" for head in _HEADS]
    dotted = ".".join([*short, end])
    dense = re.match(r"^block(\d+)_(\d+)\.(.*)$", dotted)
    step = re.match(r"^transition(\d+)_(norm|conv)\.(.*)$", dotted)
    if dense:
        layer = f"features.denseblock{dense[1]}.denselayer{dense[2]}"
        return [f"{layer}.{dense[3]}", f"{layer}.layers.{dense[3]}"]
    if step:
        return [f"features.transition{step[1]}.{step[2]}.{step[3]}"]
    name = re.sub(r"_(\d+)(?=[._]|$)", r".\1", dotted)  # layer1_0.conv1: layer1.0.conv1
    # EfficientNet as PyTorch's users have it: `_blocks.0._bn1`.
    marked = re.sub(r"(^|\.)(?=[a-z])", r"\1_", name.removesuffix(f".{end}")) + f".{end}"
    unstripped = ".".join([*modules, end])  # Inception: branch3x3_1.conv
    names = [name, f"features.{name}", marked, dotted, unstripped]
    return [*names, *_of_transformers(dotted), _of_efficientnet(dotted)]


def _of_efficientnet(name: str) -> str:
    """The name of EfficientNet-B0 in torchvision."""
    ends = {"conv_stem": "0.0", "bn1": "0.1", "conv_head": "8.0", "bn2": "8.1"}
    first = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "2.0", "bn2": "2.1"}
    other = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"}
    other |= {"conv_pwl": "3.0", "bn3": "3.1"}
    block = re.match(r"^blocks_(\d)_(\d+)\.(\w+)(\..*)$", name)
    if not block:
        module, _, end = name.partition(".")
        return f"features.{ends.get(module, module)}.{end}"
    stage, number, module, end = int(block[1]), block[2], block[3], block[4]
    places = other if stage else first
    excited = 2 if stage else 1
    excitation = {"se_conv_reduce": f"{excited}.fc1", "se_conv_expand": f"{excited}.fc2"}
    place = (places | excitation).get(module, module)
    return f"features.{stage + 1}.{number}.block.{place}{end}"


def _of_transformers(name: str) -> list[str]:
    """The names of ConvNeXt and ViT: those of timm, then those of torchvision."""
    timm = re.sub(r"_(\d+)(?=[._]|$)", r".\1", name)
    for ours, theirs in (
        (r"(\d)_(blocks|downsample)", r"\1.\2"),
        (r"(mlp|embed|head|se)_(?=fc|proj|norm|conv)", r"\1."),
        (r"layer_norm\.", "norm."),
        (r"^classifier\.0\.", "pre_logits.fc1."),
        (r"^classifier\.3\.", "pre_logits.fc2."),
    ):
        timm = re.sub(ours, theirs, timm)
    places = {"conv_dw": "block.0", "norm": "block.2", "mlp.fc1": "block.3", "mlp.fc2": "block.5"}

    def of_block(m: re.Match[str]) -> str:
        part = "layer_scale" if m[3] == "gamma" else f"{places[m[3]]}{m[4]}"
        return f"features.{2 * int(m[1]) + 1}.{m[2]}.{part}"

    vision = re.sub(r"^stem\.", "features.0.", timm)
    vision = re.sub(r"^stages\.(\d+)\.downsample", lambda m: f"features.{2 * int(m[1])}", vision)
    block = rf"^stages\.(\d+)\.blocks\.(\d+)\.(gamma|{'|'.join(places)})(.*)$"
    vision = re.sub(block, of_block, vision)
    return [timm, re.sub(r"^head\.norm", "classifier.0", vision)]


def from_torch(
    variables: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, head: bool = True
) -> Any:
    """`variables` with values from `tensors`; values change, structure never.

    A network of gray images gets the sum of the first kernels for red, green and blue: as if the
    image were repeated in all three. One of volumes gets the kernels of images, repeated along the
    first axis and divided by how often (Carreira and Zisserman, CVPR 2017): a volume that does not
    change along that axis is answered as its slices are.

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
        value = _laid_out(np.asarray(tensors[known[0]]), names[-1], leaf.shape)
        if value.shape != leaf.shape:
            shapes.append(f"{known[0]!r} has shape {value.shape} where {leaf.shape} is needed")
            return leaf
        return value.astype(leaf.dtype)

    converted = jax.tree_util.tree_map_with_path(convert, variables)
    odd = sorted(name for name in set(tensors) - used if not _may_stay(name))
    if missing or shapes or odd:
        raise UserError(f"{_misfit(missing, shapes, odd)}: another architecture?")
    return converted


def _laid_out(value: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of PyTorch in our layout; where it cannot have the shape it keeps another."""
    if name == _PLACES:
        return _resampled(value, shape)
    if name != "kernel":
        return value.reshape(-1) if len(shape) == 1 else value
    if len(shape) == 2:
        value = value.reshape(len(value), -1)
    value = value.transpose(*range(2, value.ndim), 1, 0)  # [out, in, *space]: [*space, in, out]
    if value.ndim > 2 and value.shape[-2] == 3 and shape[-2] == 1:
        value = value.sum(-2, keepdims=True)
    if value.ndim == 4 and len(shape) == 5:
        value = np.repeat(value[None] / shape[0], shape[0], 0)
    return value


def _resampled(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Embeddings of a square of places, the class token first, for a square of another size."""
    old, new = (round((count - 1) ** 0.5) for count in (value.shape[1], shape[1]))
    if value.shape == shape or (old**2, new**2) != (value.shape[1] - 1, shape[1] - 1):
        return value
    grid = value[:, 1:].reshape(1, old, old, -1)
    moved = jax.image.resize(grid, (1, new, new, grid.shape[-1]), "cubic")
    return np.concatenate([value[:, :1], np.asarray(moved).reshape(1, new**2, -1)], 1)


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
    return (
        name.rpartition(".")[0] in _HEADS
        or name.startswith(_LEFT)
        or name.endswith("num_batches_tracked")
    )

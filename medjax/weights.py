"""A network's weights in one file that holds numbers and nothing else (safetensors)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from medjax.errors import UserError
from medjax.train.record import write_bytes
from medjax.typing import Tree

NAME = "weights.safetensors"


def flat(tree: Tree) -> dict[str, np.ndarray]:
    """(params, stats) as arrays by path, `params/conv1/kernel`."""
    return {
        # In C's order: safetensors writes the memory behind a view as it lies.
        _name(path): np.asarray(leaf, order="C")
        for path, leaf in jax.tree_util.tree_leaves_with_path(named(tree))
    }


def named(tree: Tree) -> dict[str, Any]:
    """(params, stats) as one tree with a name for each."""
    return dict(zip(("params", "stats"), tree, strict=True))


def dump(tree: Tree) -> bytes:
    """(params, stats) as the bytes of a file."""
    return safetensors.numpy.save(flat(tree))


def write(path: Path, tree: Tree) -> None:
    """Writes all or nothing."""
    write_bytes(path, dump(tree))


def of_run(workdir: Path, abstract: Tree) -> Any:
    """The weights that a run has left, of its first seed, as `fit` gives them."""
    return fit(read_first_seed(workdir), abstract, where=str(workdir / NAME))


def read_first_seed(workdir: Path) -> dict[str, np.ndarray]:
    """The arrays that a run has left, by path, of its first seed.

    Raises:
      UserError: if it has not ended, or they cannot be read.
    """
    path = workdir / NAME
    try:
        return first_seed(parse(path.read_bytes(), where=str(path)))
    except OSError as e:
        raise UserError(
            f"{path}: {e.strerror}; name the work directory of a run that has ended"
        ) from None


def first_seed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of arrays with a seed axis those of the first one."""
    return {name: array[0] for name, array in arrays.items()}


def list_resized(arrays: Mapping[str, Any], abstract: Tree) -> list[str]:
    """Paths of arrays that differ from those of (params, stats) in the number of answers: the sides
    that differ have one length in all of these arrays, and another one here, and some are the last.
    Empty where sides differ otherwise, as of images with other channels, or those of most arrays
    do, as of a network of another width."""
    wanted = _by_name(abstract)
    resized = {
        name: (arrays[name].shape, leaf.shape)
        for name, leaf in wanted.items()
        if name in arrays and arrays[name].shape != leaf.shape
    }
    if any(len(has) != len(needs) for has, needs in resized.values()):
        return []
    sides = [pair for shapes in resized.values() for pair in zip(*shapes, strict=True)]
    changes = {(has, needs) for has, needs in sides if has != needs}
    is_last = any(has[-1] != needs[-1] for has, needs in resized.values())
    return [*resized] if is_last and len(changes) == 1 and 2 * len(resized) < len(wanted) else []


def parse(content: bytes, *, where: str) -> dict[str, np.ndarray]:
    """The arrays of a file, by path; raises UserError if it is none."""
    try:
        return safetensors.numpy.load(content)
    except Exception as e:  # the parser, in Rust, has one class of its own; numpy has others
        raise UserError(f"{where}: holds no weights that can be read ({e})") from None


def check_finite(arrays: Mapping[str, np.ndarray], *, where: str) -> None:
    """Raises UserError if a number is NaN or infinite; its array is named."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{where}: {name} has numbers that are not finite")


def fit(
    arrays: Mapping[str, Any],
    abstract: Tree,
    *,
    where: str,
    own: str | tuple[str, ...] = (),
    seeds: bool = False,
) -> Any:
    """Arrays by path as the (params, stats) that `abstract` has the shapes of.

    Args:
      own: paths that begin so, or with one of these, keep what `abstract` has: `params/fc/`.
      seeds: whether both have an axis of seeds, which messages leave out.

    Raises:
      UserError: if one is missing, has another shape or type, or is too many; it is named.
    """
    wanted = _by_name(abstract)
    if own:
        kept = {name: leaf for name, leaf in wanted.items() if name.startswith(own)}
        arrays = {k: v for k, v in arrays.items() if not k.startswith(own)} | kept
    for name, leaf in wanted.items():
        array = arrays.get(name)
        if array is None:
            raise UserError(f"{where}: lacks {name}, which the network has")
        if array.shape != leaf.shape or array.dtype != leaf.dtype:
            same = seeds and array.shape[:1] == leaf.shape[:1]
            has, needs = (x.shape[1:] if same else x.shape for x in (array, leaf))
            raise UserError(
                f"{where}: {name} is {array.dtype} of {has} where the network has {leaf.dtype} of "
                f"{needs}"
            )
    odd = next((name for name in arrays if name not in wanted), None)
    if odd is not None:
        raise UserError(f"{where}: {odd[:100]!r} is no part of the network")
    leaves = [arrays[name] for name in wanted]
    tree = jax.tree.unflatten(jax.tree.structure(named(abstract)), leaves)
    return tree["params"], tree["stats"]


def _by_name(tree: Tree) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(named(tree))}


def _name(path: Any) -> str:
    return "/".join(str(part.key) for part in path)

"""A bundle's network as one compiled function, for those who have JAX but no medjax.

StableHLO as `jax.export` writes it, for CPU, CUDA and TPU, any number of images at a time. The
scaling of pixels is inside; that images have to be brought to the shape and grid of the training
is not. The weights are its first argument, so that they stand in the bundle once.
"""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from medjax import native, weights
from medjax.errors import UserError
from medjax.tasks.base import inputs_of, predict_ensemble
from medjax.typing import Json, Tree

NAME = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def make(bundle: Any) -> bytes:
    """The serialised function `(weights by path, *inputs)`, of all seeds together.

    Raises:
      UserError: if a library is missing.
    """
    from jax import export

    trained = bundle.spec
    function = predict_ensemble(bundle.predictor, trained)
    flat = {
        k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.flat(bundle.weights).items()
    }
    scope = export.SymbolicScope()
    specs = [
        jax.ShapeDtypeStruct(export.symbolic_shape(given.shape, scope=scope), np.dtype(given.dtype))
        for given in inputs_of(bundle.predictor, trained)
    ]
    settings: Any = jax.config
    depth = settings.jax_traceback_in_locations_limit
    settings.update("jax_traceback_in_locations_limit", 0)  # no path of this machine in it
    try:
        with native.set_aside():  # its calls exist on this machine alone
            made = export.export(jax.jit(_by_path(function, bundle.weights)), platforms=PLATFORMS)(
                flat, *specs
            )
        return bytes(made.serialize())
    except ImportError as e:
        raise UserError(f"`stablehlo` needs flatbuffers; pip install flatbuffers ({e})") from None
    finally:
        settings.update("jax_traceback_in_locations_limit", depth)


def takes(function: bytes, names: Iterable[str]) -> bool:
    """Whether a serialised function names all of these weights.

    It is not parsed for that: of bytes that may be anything a parser may take any memory.
    """
    return all(name.encode() in function for name in names)


def _by_path(function: Callable, tree: Tree) -> Callable:
    """`function` of weights by path, its answer as arrays by name, or the one array that it is."""
    structure = jax.tree.structure(weights.named(tree))
    names = list(weights.flat(tree))

    def call_by_path(flat: Json, *inputs: Any) -> Any:
        named = jax.tree.unflatten(structure, [flat[name] for name in names])
        answer = function(named["params"], named["stats"], *inputs)
        return answer if len(answer) > 1 else next(iter(answer.values()))

    return call_by_path

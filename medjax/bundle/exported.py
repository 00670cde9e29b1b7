"""A bundle's network as one compiled function, for those who have JAX but no medjax.

StableHLO as `jax.export` writes it, for CPU, CUDA and TPU, any number of images at a time. The
scaling of pixels is inside; that images have to be brought to the shape and grid of the training
is not. The weights are its first argument, so that they stand in the bundle once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import weights
from medjax.errors import UserError

NAME = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def make(bundle: Any) -> bytes:
    """The serialised function `(weights by path, *inputs)`, the mean over seeds of the answers.

    Raises:
      UserError: if the network has no single pass, or a library is missing.
    """
    from jax import export

    if not hasattr(bundle.how, "function"):
        raise UserError(f"--stablehlo: a {bundle.experiment} is many steps, not one function; "
                        "share the bundle without it")
    function, shapes = bundle.how.function(bundle.trained)
    flat = {k: jax.ShapeDtypeStruct(v.shape, v.dtype)
            for k, v in weights.flat(bundle.weights).items()}
    scope = export.SymbolicScope()
    specs = [jax.ShapeDtypeStruct(export.symbolic_shape(shape, scope=scope), _dtype(name, bundle))
             for name, shape in shapes.items()]
    settings: Any = jax.config
    depth = settings.jax_traceback_in_locations_limit
    settings.update("jax_traceback_in_locations_limit", 0)  # no path of this machine in it
    try:
        made = export.export(jax.jit(_of_all_seeds(function, bundle.weights)),
                             platforms=PLATFORMS)(flat, *specs)
        return bytes(made.serialize())
    except ImportError as e:
        raise UserError(f"--stablehlo needs flatbuffers; pip install flatbuffers ({e})") from None
    finally:
        settings.update("jax_traceback_in_locations_limit", depth)


def _dtype(name: str, bundle: Any) -> Any:
    return np.dtype("int32") if name == "length" else np.dtype(bundle.trained.image_dtype)


def _of_all_seeds(function: Callable, tree: Any) -> Callable:
    """`function` of weights by path, one seed after another, and the mean of what they say."""
    structure = jax.tree.structure(weights.named(tree))
    names = list(weights.flat(tree))

    def whole(flat: dict[str, Any], *inputs: Any) -> Any:
        named = jax.tree.unflatten(structure, [flat[name] for name in names])
        each = jax.lax.map(lambda w: function(w["params"], w["stats"], *inputs), named)
        found = jax.tree.map(lambda x: jnp.mean(x, axis=0), each)
        return found._asdict() if hasattr(found, "_asdict") else found

    return whole

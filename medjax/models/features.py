"""What a network computes below its last layer."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medjax.errors import UserError
from medjax.typing import Array, Key, Params, Stats

HEAD = "fc"  # the last layer of a classifier


def extract_features(network: Any, variables: Mapping[str, Any], images: Array) -> Array:
    """What the last layer would be given, `[batch, feature]`; of a network as it predicts.

    Args:
      network: a classifier of medjax; variables: `params` and `batch_stats`.
      images: `[batch, *space, channel]`, as the network takes them.

    Raises:
      UserError: if its last layer is not one linear map.
    """
    return apply_body(network, variables, images, train=False)[0]


def apply_body(
    network: Any,
    variables: Mapping[str, Any],
    images: Array,
    *,
    train: bool,
    key: Key | None = None,
) -> tuple[Array, Stats]:
    """The same, and the batch statistics after it; the last layer itself needs no parameters.

    Args:
      key: of dropout; None: there is none.
    """
    caught: list[Array] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.name == HEAD and context.method_name == "__call__":
            caught.append(args[0])
            return args[0]
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        _, updated = network.apply(
            variables,
            images,
            train=train,
            mutable=["batch_stats"],
            rngs=None if key is None else {"dropout": key},
        )
    if len(caught) != 1 or caught[0].ndim != 2:
        raise UserError(f"network {type(network).__name__}: its last layer is not called {HEAD!r}")
    return caught[0], updated.get("batch_stats", variables.get("batch_stats", {}))


def init_body(network: Any, key: Key, images: Array) -> tuple[Params, Stats, int]:
    """Parameters and batch statistics of a network without its last layer, and how many features
    that layer is given."""
    variables = network.init(key, images, train=False)
    params = {name: value for name, value in variables["params"].items() if name != HEAD}
    stats = variables.get("batch_stats", {})
    below = {"params": params, "batch_stats": stats}
    shape = jax.eval_shape(lambda v: extract_features(network, v, images), below)
    return params, stats, shape.shape[-1]


def list_layers(network: Any, image_shape: tuple[int, ...]) -> list[tuple[str, ...]]:
    """The top-level modules that have weights, in the order in which an image passes them; a
    normalisation, which has no kernel, stands with the layer before it.

    Args:
      image_shape: `[*space, channel]`.
    """
    called: dict[str, None] = {}

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.path and context.method_name == "__call__":
            called.setdefault(context.module.path[0])
        return call(*args, **kwargs)

    def init(key: Array, images: Array) -> Any:
        with nn.intercept_methods(intercept):
            return network.init(key, images, train=False)

    shape = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    made = jax.eval_shape(init, jax.random.key(0), shape)["params"]
    layers: list[tuple[str, ...]] = []
    for name in (name for name in called if name in made):
        if layers and all(x.ndim < 2 for x in jax.tree.leaves(made[name])):
            layers[-1] += (name,)
        else:
            layers.append((name,))
    alone = tuple(name for name in made if name not in called)  # as the places of a transformer
    return [(*alone, *layers[0]), *layers[1:]] if layers else [alone]

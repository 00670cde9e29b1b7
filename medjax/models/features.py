"""What a network computes below its last layer."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from medjax.errors import UserError
from medjax.typing import Array

HEAD = "fc"  # the last layer of a classifier


def extract_features(network: Any, variables: Mapping[str, Any], images: Array) -> Array:
    """What the last layer would be given, `[batch, feature]`.

    Args:
      network: a classifier of medjax; variables: `params` and `batch_stats`.
      images: `[batch, *space, channel]`, as the network takes them.

    Raises:
      UserError: if its last layer is not one linear map.
    """
    caught: list[Array] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if context.module.name == HEAD and context.method_name == "__call__":
            caught.append(args[0])
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        network.apply(variables, images, train=False)
    if len(caught) != 1 or caught[0].ndim != 2:
        raise UserError(f"network {type(network).__name__}: its last layer is not called {HEAD!r}")
    return caught[0]

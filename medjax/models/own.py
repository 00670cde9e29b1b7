"""Networks of one's own: registered by name, or checked as they are handed over."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medjax.errors import UserError, first_line
from medjax.ops.conv import conv_general_dilated
from medjax.typing import Array


def accept_known(name: str, factory: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The factory of the network `name`, called with those of medjax's options alone that it
    takes; raises UserError where it fails."""
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def make(**options: Any) -> nn.Module:
        taken = {k: v for k, v in options.items() if takes_all or k in parameters}
        try:
            return factory(**taken)
        except TypeError as e:
            raise UserError(f"network {name!r}: cannot be made: {first_line(e)}") from None

    return make


def use_fast_convolutions() -> AbstractContextManager[None]:
    """While it is entered, every `nn.Conv` without a convolution of its own computes by `ops.conv`:
    in a loop of updates XLA's CPU backend is up to 25 times slower."""

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        plain = isinstance(module, nn.Conv) and context.method_name == "__call__"
        if plain and module.conv_general_dilated is None:
            # Flax has no other way into a module that somebody else has made.
            object.__setattr__(module, "conv_general_dilated", conv_general_dilated)
        return call(*args, **kwargs)

    return nn.intercept_methods(intercept)


def check_module(network: Any) -> None:
    """Raises UserError unless it is a linen module with `__call__(x, train)`."""
    if isinstance(network, type):
        raise UserError(f"network {network.__name__}: give an instance, {network.__name__}(...)")
    if isinstance(network, str):
        raise UserError(f"network {network!r}: is a name; give it as model={network!r}")
    name = type(network).__name__
    if not isinstance(network, nn.Module):
        raise UserError(
            f"network {name}: not a flax.linen module; give one with __call__(x, train)"
        )
    parameters = inspect.signature(type(network).__call__).parameters
    if "train" not in parameters and all(p.kind != p.VAR_KEYWORD for p in parameters.values()):
        raise UserError(f"network {name}: its __call__ needs an argument called train")


def check_network(network: Any, *, image_shape: tuple[int, ...], answers: tuple[int, ...]) -> None:
    """Raises UserError unless a network of one's own fits the set.

    Args:
      network: a linen module with `__call__(x, train)`.
      image_shape: of one example, `[*space, channel]`, with which the network is traced.
      answers: the shape that it must answer each example with.
    """
    check_module(network)
    name = type(network).__name__

    def run(key: Array) -> Any:
        image = jnp.zeros((1, *image_shape))
        return network.apply(network.init(key, image, train=False), image, train=False)

    try:
        shape = getattr(jax.eval_shape(run, jax.random.key(0)), "shape", "several arrays")
    except Exception as e:  # whatever a stranger's module says
        raise UserError(
            f"network {name} does not take images of the shape {image_shape}: {first_line(e)}"
        ) from None
    if shape != (1, *answers):
        raise UserError(
            f"network {name} answers a batch of {(1, *image_shape)} with {shape}, where "
            f"{(1, *answers)} is needed"
        )

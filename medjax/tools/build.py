"""Compile fast convolutions and warps for this CPU, once: an extra that needs a C++ compiler.

    medjax build

XLA's own are slow on a CPU. This compiles a little C++ for the processor at hand, checks it against
XLA, and says how much faster its convolutions are; every run from then on uses it. Nothing else
is installed, an accelerator has no use for it, and `medjax cache --empty=native` removes it.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import native, progress, runtime
from medjax.config import option
from medjax.errors import UserError
from medjax.experiment.profiling import best_seconds
from medjax.ops import compiled_conv, conv, interpolation
from medjax.typing import Array

_STRIDES, _PADS = (1, 1, 1), ((1, 1),) * 3


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    cache_dir: str = option("~/.cache/medjax", "where it is kept", path=True)


def main(config: Config) -> None:
    path = native.library_path(Path(config.cache_dir).expanduser())
    runtime.fast_cpu()
    with progress.alive("compiling"):
        native.build(path)
    native.register(path)
    try:
        milliseconds = [1e3 * s for s in _check()]
    except UserError:
        path.unlink()
        raise
    print(
        f"built {path}\na 3-D convolution with its gradients, 32 channels of 32^3: XLA "
        f"{milliseconds[1]:.0f} ms, compiled {milliseconds[0]:.0f} ms; every run uses it now"
    )


def _check() -> tuple[float, float]:
    """The seconds of a convolution with its gradients, compiled and without the library.

    Raises:
      UserError: if their numbers differ.
    """
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (2, 32, 32, 32, 32))
    w = jax.random.normal(keys[1], (3, 3, 3, 32, 32)) / 30

    def all_of(form: Callable[..., Array]) -> Callable[[Array, Array], Any]:
        def energy(x: Array, w: Array) -> Array:
            return jnp.sum(form(x, w, strides=_STRIDES, pads=_PADS) ** 2) / x.size

        return jax.jit(jax.value_and_grad(energy, argnums=(0, 1)))

    forms = [all_of(form) for form in (compiled_conv.convolve, conv.conv3d)]
    _check_equal(*(form(x, w) for form in forms), what="convolution")
    _check_equal(_warp(), _warp(by_xla=True), what="interpolation")
    compiled, plain = (best_seconds(form, x, w) for form in forms)
    return compiled, plain


def _warp(*, by_xla: bool = False) -> tuple[Array, Any]:
    """An image sampled at some places, and the gradients to both."""
    keys = jax.random.split(jax.random.key(0))
    image = jax.random.normal(keys[0], (9, 8, 7, 3))
    where = jax.random.uniform(keys[1], (3, 5000), minval=-2.0, maxval=10.0)

    @jax.jit
    def energy(image: Array, where: Array) -> Array:
        return jnp.sum(interpolation.sample(image, where) ** 2) / where.size

    with native.set_aside() if by_xla else contextlib.nullcontext():
        return jax.value_and_grad(energy, argnums=(0, 1))(image, where)


def _check_equal(ours: Any, theirs: Any, *, what: str) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if not np.allclose(a, b, rtol=1e-3, atol=1e-5):
            raise UserError(f"the compiled {what} differs from XLA's: it was not kept")

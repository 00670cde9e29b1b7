"""All that a training run carries from step to step. Nothing random is stored: keys are folded
from the step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from medjax.typing import Array, Params, Stats, Tree


class TrainState(NamedTuple):
    """One learner.

    Attributes:
      step: updates done, int32.
      params, stats: weights and batch statistics.
      opt: the optimiser's state.
      mean: exponential moving average of (params, stats): what is evaluated and shared.
    """

    step: Array
    params: Params
    stats: Stats
    opt: Any
    mean: tuple[Params, Stats]


def create(params: Params, stats: Stats, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first update."""
    return TrainState(
        jnp.zeros((), jnp.int32), params, stats, optimizer.init(params), (params, stats)
    )


def average(mean: Tree, new: Tree, *, step: Array, decay: float) -> Any:
    """The next moving average; early on it forgets faster, so that the start leaves no trace."""
    rate = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda m, n: (rate * m + (1.0 - rate) * n).astype(m.dtype), mean, new)


def count_parameters(params: Params) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))

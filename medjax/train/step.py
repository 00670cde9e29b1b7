"""From a loss to a compiled program of many updates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from medjax.train.state import TrainState, average
from medjax.typing import Array, Batch, Key, Logs, Tree

Step = Callable[[Key, Any, Any], tuple[Tree, Logs]]
Advance = Callable[[Key, Any, Any, Array], tuple[Tree, Logs]]


def make_step(
    loss: Callable, optimizer: optax.GradientTransformation, *, ema_decay: float = 0.0
) -> Callable[[Key, TrainState, Batch], tuple[TrainState, Logs]]:
    """One update: `step(key, state, batch) -> state, logs`.

    Args:
      loss: `loss(key, params, stats, batch) -> value, (stats, logs)`.
      optimizer: makes updates of gradients.
      ema_decay: of the moving average; 0 keeps the newest weights.
    """

    def step(key: Key, state: TrainState, batch: Batch) -> tuple[TrainState, Logs]:
        key = jax.random.fold_in(key, state.step)
        (_, (stats, logs)), grads = jax.value_and_grad(
            lambda p: loss(key, p, state.stats, batch), has_aux=True
        )(state.params)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        mean = average(state.mean, (params, stats), step=state.step, decay=ema_decay)
        logs = {**logs, "gradient_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, stats, opt, mean), logs

    return step


def make_advance(step: Step, pick: Callable[[Key, Any, Array, Array], Batch]) -> Advance:
    """Many updates in one program: `advance(key, state, data, count) -> state, logs`.

    The state is anything that knows its `step`.
    `count` is not a static argument: one program serves every count. The logs are sums over the
    updates, and `bad_step`, the first step whose loss or gradient was not finite, else -1.

    Args:
      step: as of `make_step`.
      pick: `pick(key, data, step, i) -> batch`: the batch for update `i` of this call.
    """

    step = jax.jit(step)  # so that it is traced once, though its shapes are asked for first

    def advance(key: Key, state: Tree, data: Any, count: Array) -> tuple[Tree, Logs]:
        step_key, data_key = jax.random.split(key)

        def body(i: Array, carry: tuple[Tree, Logs]) -> tuple[Tree, Logs]:
            state, sums = carry
            bad = sums["bad_step"]
            state_next, logs = step(step_key, state, pick(data_key, data, state.step, i))
            fine = jnp.isfinite(logs["loss"]) & jnp.isfinite(logs["gradient_norm"])
            failed = (bad < 0) & ~fine
            total = {k: sums[k] + v for k, v in logs.items()}
            return state_next, {**total, "bad_step": jnp.where(failed, state.step, bad)}

        first = pick(data_key, data, state.step, jnp.int32(0))
        shapes = jax.eval_shape(step, step_key, state, first)[1]
        zeros = {k: jnp.zeros(v.shape, v.dtype) for k, v in shapes.items()}
        start = {**zeros, "bad_step": jnp.full((), -1, jnp.int32)}
        return jax.lax.fori_loop(0, count, body, (state, start))

    return advance


def mean_of_seeds(function: Callable) -> Callable:
    """`function(params, stats, *inputs)` of one seed as the mean of what many answer."""

    def mean_answer(params: Tree, stats: Tree, *inputs: Any) -> Any:
        by_seed = jax.lax.map(lambda w: function(*w, *inputs), (params, stats))
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), by_seed)

    return mean_answer


def over_seeds(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """`function` for many seeds in one program, as `jax.vmap(function, in_axes)` would be.

    On a CPU the seeds run one after another inside the program (`lax.map`): a convolution with a
    kernel a seed is a grouped one, which XLA's CPU backend is four times slower at.
    """

    def mapped(*args):
        index = [i for i, axis in enumerate(in_axes) if axis is not None]

        def call_one_seed(parts):
            arguments = list(args)
            for i, part in zip(index, parts, strict=True):
                arguments[i] = part
            return function(*arguments)

        by_seed = tuple(args[i] for i in index)
        if len(jax.tree.leaves(by_seed)[0]) > 1:
            return jax.lax.map(call_one_seed, by_seed)
        # A loop of one would take a number of operations, to compile too, for each array.
        return jax.tree.map(lambda x: x[None], call_one_seed(jax.tree.map(lambda x: x[0], by_seed)))

    return mapped if jax.default_backend() == "cpu" else jax.vmap(function, in_axes)

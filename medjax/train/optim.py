"""Optimisers by name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from medjax.errors import unknown
from medjax.typing import Array, Params, Tree

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


class LayerRate(NamedTuple):
    """How a layer is trained.

    Attributes:
      factor: of its updates; start: the first step that it is trained at.
    """

    factor: float
    start: int


def make(
    name: str,
    *,
    learning_rate: float,
    steps: int,
    warmup_steps: int = 0,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    clip_norm: float = 0.0,
    only: tuple[str, ...] = (),
    layers: Mapping[str, LayerRate] | None = None,
) -> optax.GradientTransformation:
    """AdamW, or SGD with Nesterov momentum, with warm-up, schedule and clipping.

    Learning rate and weight decay stand in its state, so that one compiled program serves all
    values of them, and learners beside one another can have their own; see `tune`.

    Args:
      name: `adamw` or `sgd`.
      learning_rate: its peak, after a linear warm-up from zero over `warmup_steps`.
      steps: the cosine schedule ends here, at zero.
      weight_decay: decoupled (Loshchilov and Hutter 2019); not on biases and norms.
      momentum: of SGD; first moment of AdamW.
      clip_norm: gradients longer than this are shortened to it; 0 is off.
      only: the top-level modules that are trained; empty means all.
      layers: how each of them is trained; None: all alike.

    Raises:
      UserError: for an unknown optimiser or schedule.
    """
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    shape = _schedule(schedule, warmup_steps, steps)
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if name == "adamw":
        parts.append(optax.scale_by_adam(b1=momentum))
    else:
        parts.append(optax.trace(decay=momentum, nesterov=True))

    def tuned(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        return optax.chain(
            *parts,
            optax.add_decayed_weights(weight_decay, mask=_is_matrix),
            optax.scale_by_learning_rate(shape),
            optax.scale(learning_rate),
        )

    # As parts of the state and not as constants of the program: one compiled program serves every
    # value, and learners that are mapped over side by side can each have their own.
    optimizer = optax.inject_hyperparams(tuned)(
        learning_rate=learning_rate, weight_decay=weight_decay
    )
    if layers is not None:
        optimizer = optax.chain(optimizer, scale_layers(layers))
    if not only:
        return optimizer
    return optax.multi_transform(
        {"train": optimizer, "keep": optax.set_to_zero()},
        lambda params: {name: "train" if name in only else "keep" for name in params},
    )


class LayerState(NamedTuple):
    """What `scale_layers` keeps; as in `make`, no constants of the program."""

    step: Array
    factor: dict[str, Array]
    start: dict[str, Array]


def scale_layers(layers: Mapping[str, LayerRate]) -> optax.GradientTransformation:
    """Updates of each top-level module times its factor, and none before its first step.

    Howard and Ruder, Universal language model fine-tuning for text classification (ACL 2018):
    discriminative rates, and gradual unfreezing.
    """

    def init(params: Params) -> LayerState:
        factor = {name: jnp.float32(layers[name].factor) for name in params}
        start = {name: jnp.int32(layers[name].start) for name in params}
        return LayerState(jnp.int32(0), factor, start)

    def update(updates: Tree, state: LayerState, params: Params | None = None) -> Any:
        def scaled(name: str) -> Tree:
            by = state.factor[name] * (state.step >= state.start[name])
            return jax.tree.map(lambda x: (x * by).astype(x.dtype), updates[name])

        return {name: scaled(name) for name in updates}, state._replace(step=state.step + 1)

    return optax.GradientTransformation(init, update)


def decay_layers(
    layers: Sequence[tuple[str, ...]], *, decay: float, unfreeze_steps: int
) -> dict[str, LayerRate]:
    """The last layer at the full rate from the first step on, those below at less, and later.

    Args:
      layers: the names of their modules, from the image to the last layer.
      decay: factor from one layer to the one below it.
      unfreeze_steps: the first layer is trained from this step on, those between in equal steps.
    """
    last = max(len(layers) - 1, 1)
    out: dict[str, LayerRate] = {}
    for number, names in enumerate(layers):
        depth = len(layers) - 1 - number
        out |= dict.fromkeys(names, LayerRate(decay**depth, unfreeze_steps * depth // last))
    return out


def tune(state: Tree, **values: Any) -> Tree:
    """A state, or a tree in which one stands, with other values of `learning_rate` or
    `weight_decay`."""
    return optax.tree.set(state, **values)


def _schedule(name: str, warmup_steps: int, steps: int) -> optax.Schedule:
    """Up to 1 and down again."""
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    rest = max(steps - warmup_steps, 1)
    after = optax.cosine_decay_schedule(1.0, rest) if name == "cosine" else (lambda step: 1.0)
    warm = optax.linear_schedule(0.0, 1.0, warmup_steps)
    return optax.join_schedules([warm, after], [warmup_steps]) if warmup_steps else after


def _is_matrix(params: Params):
    """True for kernels, False for biases and norms."""
    return jax.tree.map(lambda p: p.ndim > 1, params)

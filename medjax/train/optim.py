"""Optimisers by name."""

from typing import Any

import jax
import optax

from medjax.errors import unknown
from medjax.typing import Params, Tree

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


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
    if not only:
        return optimizer
    return optax.multi_transform(
        {"train": optimizer, "keep": optax.set_to_zero()},
        lambda params: {name: "train" if name in only else "keep" for name in params},
    )


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

"""Optimisers by name."""

import jax
import optax

from medjax.errors import unknown
from medjax.typing import Params

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


def make(
    name: str, *, learning_rate: float, steps: int, warmup_steps: int = 0,
    schedule: str = "cosine", weight_decay: float = 0.0, momentum: float = 0.9,
    clip_norm: float = 0.0, only: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """AdamW, or SGD with Nesterov momentum, with warm-up, schedule and clipping.

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
    rate = _schedule(schedule, learning_rate, warmup_steps, steps)
    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if name == "adamw":
        parts.append(optax.scale_by_adam(b1=momentum))
    else:
        parts.append(optax.trace(decay=momentum, nesterov=True))
    parts.append(optax.add_decayed_weights(weight_decay, mask=_is_matrix))
    whole = optax.chain(*parts, optax.scale_by_learning_rate(rate))
    if not only:
        return whole
    return optax.multi_transform({"train": whole, "keep": optax.set_to_zero()}, lambda params: {
        name: "train" if name in only else "keep" for name in params})


def _schedule(name: str, peak: float, warmup_steps: int, steps: int) -> optax.Schedule:
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    rest = max(steps - warmup_steps, 1)
    after = optax.cosine_decay_schedule(peak, rest) if name == "cosine" else (lambda step: peak)
    warm = optax.linear_schedule(0.0, peak, warmup_steps)
    return optax.join_schedules([warm, after], [warmup_steps]) if warmup_steps else after


def _is_matrix(params: Params):
    """True for kernels, False for biases and norms."""
    return jax.tree.map(lambda p: p.ndim > 1, params)

"""The training run of many learners as one program: seeds, and settings to choose from."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from medjax.train import mesh, optim, several, step
from medjax.train.options import TrainingOptions
from medjax.train.run import Plan
from medjax.typing import Key, Tree


def make_optimizer(
    options: TrainingOptions,
    *,
    only: tuple[str, ...] = (),
    layers: Mapping[str, optim.LayerRate] | None = None,
) -> Any:
    """The optimiser of the options; `only` and `layers` as of `optim.make`."""
    return optim.make(
        options.optimizer,
        learning_rate=options.learning_rate,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        schedule=options.schedule,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        only=only,
        layers=layers,
    )


def plan_learners(
    options: TrainingOptions,
    *,
    init: Callable[[Key], Any],
    advance: step.Advance,
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    **others: Any,
) -> Plan:
    """The run of all seeds, and of all settings to choose from, as one program.

    Every leaf of its state has a leading axis of learners: the seeds of each choice.

    Args:
      init, advance: of one learner.
      evaluate: of the weights of all seeds.
      score, higher: which of its values chooses.
      others: what else a `Plan` has.
    """
    tried, seeds = options.choices, options.seeds
    replicated = mesh.replicated(mesh.make())
    keys = jax.jit(
        lambda: jax.vmap(jax.random.key)(options.seed + jnp.tile(jnp.arange(seeds), len(tried))),
        out_shardings=replicated,
    )()

    if len(tried) > 1:
        evaluate = several.judged(
            evaluate, score=score, higher=higher, seeds=seeds, count=len(tried)
        )
    return Plan(
        init=begin_learners(options, init),
        advance=step.over_seeds(advance, (0, 0, None, None)),
        keys=keys,
        replicated=replicated,
        evaluate=lambda state: evaluate(weights_of(state)),
        score=score,
        higher=higher,
        steps=options.steps,
        eval_every=options.eval_every or max(options.steps // 10, 1),
        log_every=options.log_every,
        patience=options.early_stopping,
        keep=options.keep,
        choices=len(tried),
        **others,
    )


def begin_learners(options: TrainingOptions, init: Callable[[Key], Any]) -> Callable[[Key], Any]:
    """The states of all learners, of their keys."""

    def begin(keys: Key) -> Any:
        return several.tune(step.over_seeds(init, (0,))(keys), options.choices, seeds=options.seeds)

    return begin


def weights_of(state: Tree) -> Any:
    """What answers: the mean weights of a state, or of the learner in it, on this process's
    devices."""
    learner: Tree = getattr(state, "learner", state)
    return mesh.at_hand(learner.mean)

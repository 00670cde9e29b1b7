"""The programs of an experiment, taken before anything is compiled or written."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax import export

from medjax import app, experiment
from medjax.experiment import training
from medjax.tasks.base import inputs_of, predict_ensemble
from medjax.train import run


@dataclasses.dataclass(frozen=True)
class Program:
    """A jitted function, and what it is called with."""

    function: Any
    arguments: tuple[Any, ...]


class _TakenError(Exception):
    """Ends an experiment where it would train."""


def _take(module: Any, flags: dict[str, Any], monkeypatch: Any) -> tuple[Any, Any, Any]:
    """The plan, the predictor and the model's description of an experiment with these flags."""
    taken: list[Any] = []

    def carry_out(run: Any, plan: Any, predictor: Any, spec: Any, **further: Any) -> Any:
        taken.append((plan, predictor, spec))
        raise _TakenError

    for place in (experiment, training):
        monkeypatch.setattr(place, "carry_out", carry_out)
    name = module.__name__.split(".")[-1]
    given = [name, *(f"--{k}={v}" for k, v in flags.items())]
    try:
        module.main(app.parse(module.Config, given, name))
    except _TakenError:
        return taken[0]
    raise AssertionError("nothing was to be trained")


def take_update(module: Any, flags: dict[str, Any], monkeypatch: Any) -> Program:
    """The updates."""
    plan, *_ = _take(module, flags, monkeypatch)
    return Program(*run.stage_updates(plan, 0))


def take_weights(module: Any, flags: dict[str, Any], monkeypatch: Any) -> Any:
    """The weights of all seeds before the first update, and how images are scaled for them."""
    plan, _, spec = _take(module, flags, monkeypatch)
    state = plan.init(plan.keys)
    return (state.params, state.stats), spec.preprocessing


def take_prediction(module: Any, flags: dict[str, Any], monkeypatch: Any) -> Program:
    """The answer of all seeds, as a bundle and `predict` give it, of two images."""
    plan, predictor, spec = _take(module, flags, monkeypatch)
    state = jax.eval_shape(plan.init, plan.keys)
    learner = getattr(state, "learner", state)  # agents carry more than what they learn
    inputs = [
        jax.ShapeDtypeStruct(
            tuple(n if isinstance(n, int) else 2 for n in export.symbolic_shape(given.shape)),
            np.dtype(given.dtype),
        )
        for given in inputs_of(predictor, spec)
    ]
    return Program(
        jax.jit(predict_ensemble(predictor, spec)), (learner.params, learner.stats, *inputs)
    )

"""Several settings tried as one program: learners beside one another, of which validation chooses.

The leading axis of a state has, for each choice in turn, a learner of each seed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import UserError
from medjax.train import optim
from medjax.typing import Json, JsonView, Tree


class Choice(NamedTuple):
    """What learners may differ in, beside their seeds: what an optimiser holds as numbers."""

    learning_rate: float
    weight_decay: float


def choices(rates: tuple[float, ...], decays: tuple[float, ...]) -> list[Choice]:
    """One of each pair; a single value goes with all of the other kind.

    Raises:
      UserError: if there are several of both, but not as many.
    """
    count = max(len(rates), len(decays))
    if {len(rates), len(decays)} - {1, count}:
        raise UserError(
            f"`learning_rates` gives {len(rates)} values and `weight_decays` "
            f"{len(decays)}: give as many, or one"
        )
    return [
        Choice(*pair)
        for pair in zip(
            rates * count if len(rates) == 1 else rates,
            decays * count if len(decays) == 1 else decays,
            strict=True,
        )
    ]


def tune(states: Tree, tried: Sequence[Choice], *, seeds: int) -> Tree:
    """States of all learners, each with the numbers of its choice."""
    return optim.tune(
        states,
        **{
            name: jnp.repeat(jnp.array(values, jnp.float32), seeds)
            for name, values in zip(Choice._fields, zip(*tried, strict=True), strict=True)
        },
    )


def of_choice(tree: Tree, number: int, *, seeds: int) -> Tree:
    """The part of a tree that belongs to the learners of one choice."""
    return jax.tree.map(lambda x: x[number * seeds : (number + 1) * seeds], tree)


def judged(
    evaluate: Callable[[Any], Mapping[str, float]],
    *,
    score: str,
    higher: bool,
    seeds: int,
    count: int,
) -> Callable[[Any], dict[str, float]]:
    """`evaluate` of the weights of all learners: the values of the choice with the best score.

    Beside them stand `choice`, its number, and `SCORE_of_NUMBER` of each. The score of a choice
    whose weights or loss are not finite is NaN; it ranks below one that is merely undefined.
    """

    def judge(part: Tree) -> tuple[bool, dict[str, float]]:
        values = dict(evaluate(part))
        sound = np.isfinite(values.get("loss", 0.0)) and all(
            bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(part)
        )
        return sound, values if sound else {**values, score: np.nan}

    def rank(sound: bool, values: Mapping[str, float]) -> tuple[bool, float]:
        value = values[score] if higher else -values[score]
        return sound, -np.inf if np.isnan(value) else value

    def evaluate_choices(weights: Tree) -> dict[str, float]:
        by_choice = [judge(of_choice(weights, i, seeds=seeds)) for i in range(count)]
        best = max(range(count), key=lambda i: rank(*by_choice[i]))
        return {
            **by_choice[best][1],
            "choice": best,
            **{score_of(score, i): values[score] for i, (_, values) in enumerate(by_choice)},
        }

    return evaluate_choices


def table(
    tried: Sequence[Choice], lines: Sequence[JsonView], *, score: str, higher: bool
) -> list[Json]:
    """Each choice and its best value on validation, from the lines of `metrics.jsonl`."""
    rows = []
    for number, choice in enumerate(tried):
        key = f"validation_{score_of(score, number)}"
        known = [(line[key], line["step"]) for line in lines if line.get(key) is not None]
        value, step = (max if higher else min)(known, key=lambda k: k[0], default=(np.nan, None))
        rows.append({**choice._asdict(), "value": value, "step": step})
    return rows


def score_of(score: str, number: int) -> str:
    """What the score of a choice is called among the values of all."""
    return f"{score}_of_{number}"

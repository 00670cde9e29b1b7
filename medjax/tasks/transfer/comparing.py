"""Arms beside one another: means over seeds, paired differences, and what they say."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.evaluation import stats
from medjax.evaluation.intervals import Estimate, without_interval
from medjax.evaluation.metrics import Floats, Metric, marked, traits_of
from medjax.evaluation.predictions import Predictions
from medjax.outputs.base import Evaluation
from medjax.outputs.labels.metrics import find_best
from medjax.typing import Json

ALL = "all"  # the size of the whole training set
_CLEAR = 0.05  # of a p-value that is corrected for all tests
_FOR_EACH_TEST = 40  # exchanges, so that the smallest p-value times all tests is 1 / 40


class Arm(NamedTuple):
    """An arm that has been trained on one size.

    Attributes:
      name: of the arm; size: examples of each class, or `all`.
      by_seed: its predictions of the split that is reported.
      seconds: of all seeds; examples: that went through the network, all seeds.
    """

    name: str
    size: str
    by_seed: Sequence[Predictions]
    seconds: float
    examples: int

    @property
    def reference(self) -> np.ndarray:
        """Labels `[n]`, findings or quantities `[n, name]`."""
        return self.by_seed[0].table[0]

    @property
    def answers(self) -> np.ndarray:
        """`[n, class, seed]`."""
        return np.stack([table.table[1] for table in self.by_seed], -1)


class Candidate(NamedTuple):
    """An arm, and what is reported if it is the best.

    Attributes:
      learned: its weights; None where it is no network.
      evaluation: what the report is made of.
    """

    arm: Arm
    learned: Any
    evaluation: Evaluation[Any]


def choose_best(
    done: Sequence[Candidate], declared: Mapping[str, Metric], metric: str
) -> Candidate:
    """The network that is best on validation."""
    networks = [c for c in done if c.learned is not None]
    return networks[find_best([c.evaluation.tuned for c in networks], declared, metric)]


def mean_of_seeds(metric: Metric) -> Metric:
    """The same of probabilities `[n, class, seed]`: each network by itself, then their mean.

    An ensemble of seeds would have seen several draws of the few labels that a size stands for.
    """

    traits = traits_of(metric)

    def order(probability: np.ndarray) -> np.ndarray:
        """Of each seed by itself."""
        by_seed = np.moveaxis(probability, -1, 0)
        return np.stack([traits.ranks(p) for p in by_seed], -1)  # type: ignore[misc]

    @marked(**traits._replace(ranks=order if traits.ranks else None)._asdict())
    def mean(label: np.ndarray, probability: np.ndarray, weight: np.ndarray) -> Floats:
        seeds = range(probability.shape[-1])
        return np.mean([metric(label, probability[..., s], weight) for s in seeds], 0)

    return mean


def estimate(arm: Arm, metrics: Mapping[str, Metric], *, samples: int) -> dict[str, Estimate]:
    """Each metric, mean over seeds, with its interval over subjects."""
    reference, out = arm.reference, {}
    for name, metric in metrics.items():
        mean = mean_of_seeds(metric)
        if traits_of(metric).of_errors:  # whose interval looks at one network's answers
            value = float(mean(reference, arm.answers, np.ones((1, len(reference))))[0])
            out[name] = without_interval(value, "a mean over networks")
        else:
            out[name] = stats.bootstrap(
                mean, reference, arm.answers, arm.by_seed[0].subject_id, samples=samples
            )
    return out


def compare_arms(arms: Sequence[Arm], metrics: Mapping[str, Metric], *, samples: int) -> list[Json]:
    """Each pair of arms of one size, the second minus the first, by each metric; p-values corrected
    for all of them (Holm 1979).

    Args:
      samples: exchanges of a test, at least; of many tests there are so many that the smallest
        p-value is below 0.05 once it is corrected.
    """
    pairs = [
        pair
        for size in dict.fromkeys(arm.size for arm in arms)
        for pair in itertools.combinations([arm for arm in arms if arm.size == size], 2)
    ]
    enough = max(samples, _FOR_EACH_TEST * len(pairs) * len(metrics))
    rows: list[Json] = []
    for a, b in pairs:
        for name, metric in metrics.items():
            c = _compare(a, b, metric, samples=enough)
            rows.append(
                {
                    "size": a.size,
                    "a": a.name,
                    "b": b.name,
                    "metric": name,
                    "difference": c.difference,
                    "p_value": c.p_value,
                }
            )
    corrected = stats.holm([float(row["p_value"]) for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, corrected, strict=True)]


def _compare(a: Arm, b: Arm, metric: Metric, *, samples: int) -> stats.Comparison:
    return stats.compare(
        mean_of_seeds(metric),
        a.reference,
        a.answers,
        b.answers,
        a.by_seed[0].subject_id,
        samples=samples,
    )


def conclude(compared: Sequence[Json], *, metric: str, against: str, higher: bool = True) -> str:
    """One sentence: at which sizes which arms differ from `against`, and where the data do not
    say; `higher` values of the metric are better, or lower ones."""
    rows = [
        (row if row["a"] == against else _turned(row))
        for row in compared
        if row["metric"] == metric and against in (row["a"], row["b"])
    ]
    parts = [_of_arm(arm, [r for r in rows if r["b"] == arm], higher) for arm in _names(rows, "b")]
    return f"By {metric}, against {against}: {'; '.join(parts)}." if parts else ""


def _of_arm(arm: str, rows: Sequence[Json], higher: bool) -> str:
    """What the data say of one arm, size by size."""

    def sizes(chosen: Callable[[Json], bool]) -> str:
        named = [f"{row['size']} ({row['difference'].value:+.3f})" for row in rows if chosen(row)]
        return ", ".join(named)

    def clear(row: Json) -> bool:
        return bool(row["p_holm"] <= _CLEAR)

    sign = 1 if higher else -1
    better = sizes(lambda r: clear(r) and sign * r["difference"].value > 0)
    worse = sizes(lambda r: clear(r) and sign * r["difference"].value < 0)
    unclear = sizes(lambda r: not clear(r))
    parts = [
        *([f"better at {better}"] if better else []),
        *([f"worse at {worse}"] if worse else []),
        *([f"not told apart at {unclear}"] if unclear else []),
    ]
    return f"{arm} {', '.join(parts)}"


def _turned(row: Json) -> Json:
    """The same difference the other way round."""
    d: Estimate = row["difference"]
    turned = d._replace(value=-d.value, low=-d.high, high=-d.low)
    return {**row, "a": row["b"], "b": row["a"], "difference": turned}


def _names(rows: Sequence[Json], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))

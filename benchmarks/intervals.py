"""Whether intervals hold what they should, and tests find what is there: by simulation.

    python -m benchmarks.intervals --repeats=800

Of subjects with one to seven images each, which resemble one another, the share of 95 % intervals
that hold the true value is counted, and where there are none; then how often the paired test of two
models says p <= 0.05 where they are equally good, and where one is better.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, ndtr

from medjax import app
from medjax.config import option
from medjax.errors import UserError
from medjax.evaluation import metrics, stats
from medjax.evaluation.metrics import Metric
from medjax.outputs.landmarks import metrics as landmark_metrics

Drawn = tuple[np.ndarray, np.ndarray, list[str]]  # labels, answers, subjects
APART = {0.86: 1.5, 0.98: 3.0}  # distance of two normal classes of this area, in deviations
SCALES = ((0.0, 1.0), (3.0, 1.0), (0.0, 4.0), (-3.0, 1.0))  # of the second model's logits
FEW_APART, SURE = 1.84, 3.5  # deviations of a margin from 0, and how sure answers are of it
COUNTS = (10, 20, 50, 200)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    repeats: int = option(800, "simulated studies of each kind")
    samples: int = option(400, "permutations of a paired test")


class World(NamedTuple):
    """A kind of study, and the true value of its metric."""

    name: str
    metric: Metric
    true: float
    draw: Callable[[np.random.Generator, int], Drawn]


def images_of(rng: np.random.Generator, subjects: int) -> np.ndarray:
    """The subject of each image."""
    return np.repeat(np.arange(subjects), rng.integers(1, 8, subjects))


def two(p: np.ndarray) -> np.ndarray:
    return np.stack([1 - p, p], 1)


def answers_that_are_right(rng: np.random.Generator, n: int) -> Drawn:
    """Each subject has its own share of right answers, 0.8 in the mean."""
    of = images_of(rng, n)
    label = rng.integers(0, 2, len(of))
    right = rng.random(len(of)) < rng.beta(4, 1, n)[of]
    return label, two(np.where(right, label, 1 - label) * 0.8 + 0.1), list(map(str, of))


def scores(rng: np.random.Generator, n: int, *, prevalence: float, apart: float) -> Drawn:
    """Subjects with or without the disease; half of the variance lies between subjects."""
    of = images_of(rng, n)
    label = (rng.random(n) < prevalence)[of].astype(int)
    z = np.sqrt(0.5) * (rng.normal(size=n)[of] + rng.normal(size=len(of))) + apart * label
    return label, two(expit(z)), list(map(str, of))


def few_errors(rng: np.random.Generator, n: int) -> Drawn:
    """An image a subject, two classes as frequent as each other, 3.3 % of the answers wrong."""
    label = rng.integers(0, 2, n)
    margin = rng.normal(FEW_APART, 1.0, n)  # of the true class
    return label, two(expit(np.where(label == 1, 1, -1) * SURE * margin)), list(map(str, range(n)))


def mean_of_margin(function: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean over the margins of `few_errors`, by Gauss-Hermite quadrature."""
    at, weight = np.polynomial.hermite_e.hermegauss(200)
    return float((weight * function(FEW_APART + at)).sum() / weight.sum())


def errors_mm(rng: np.random.Generator, n: int) -> Drawn:
    """Ten points of each subject, whose errors are log-normal and resemble one another."""
    error = np.exp(rng.normal(0, 0.5, (n, 1)) + rng.normal(0, 0.5, (n, 10)))
    return np.ones_like(error, bool), error, list(map(str, range(n)))


def calibrated(rng: np.random.Generator, n: int) -> Drawn:
    of = images_of(rng, n)
    p = expit(rng.normal(0, 1.5, len(of)))
    return (rng.random(len(of)) < p).astype(int), two(p), list(map(str, of))


def area(prevalence: float, wanted: float) -> World:
    apart = APART[wanted]
    return World(
        f"AUC {wanted}, prevalence {prevalence}",
        metrics.auc,
        float(ndtr(apart / np.sqrt(2))),
        lambda rng, n: scores(rng, n, prevalence=prevalence, apart=apart),
    )


WORLDS = (
    World("accuracy 0.8", metrics.accuracy, 0.8, answers_that_are_right),
    area(0.5, 0.86),
    area(0.3, 0.86),
    area(0.1, 0.86),
    area(0.5, 0.98),
    World("mean error", landmark_metrics.error_mm, float(np.exp(0.25)), errors_mm),
    World("median error", landmark_metrics.error_mm_median, 1.0, errors_mm),
    *(
        World(f"{name} 0.967, single images", metric, float(ndtr(FEW_APART)), few_errors)
        for name, metric in (
            ("accuracy", metrics.accuracy),
            ("balanced accuracy", metrics.balanced_accuracy),
            ("F1", metrics.f1),
        )
    ),
    World(
        "Brier score, single images",
        metrics.brier,
        mean_of_margin(lambda margin: (1 - expit(SURE * margin)) ** 2),
        few_errors,
    ),
    World("ECE, calibrated", metrics.ece, 0.0, calibrated),
)


def coverage(world: World, n: int, *, repeats: int) -> str:
    """The share of intervals that hold the true value; of how many, where some have none."""
    held = had = 0
    for seed in range(repeats):
        found = stats.bootstrap(
            world.metric, *world.draw(np.random.default_rng([n, seed]), n), samples=400, seed=seed
        )
        had += not np.isnan(found.low)
        held += found.low <= world.true <= found.high
    share = f"{held / had:.3f}" if had else "none"
    return share if had in (0, repeats) else f"{share} of {had}"


def pair(
    rng: np.random.Generator, n: int, *, gain: float, shift: float, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Labels and two models' answers, of which the second may be better, or on another scale."""
    of = images_of(rng, n)
    label = (rng.random(n) < 0.5)[of].astype(int)
    common = rng.normal(0, 0.7, n)[of]
    first, second = (1.5 * label + common + rng.normal(0, 0.8, len(of)) for _ in range(2))
    return (
        label,
        two(expit(first)),
        two(expit(scale * (second + gain * label) + shift)),
        list(map(str, of)),
    )


def found_share(n: int, *, gain: float, shift: float, scale: float, config: Config) -> str:
    """How often a paired test of the area says p <= 0.05."""
    hits = 0
    for seed in range(config.repeats):
        studied = pair(np.random.default_rng([n, seed]), n, gain=gain, shift=shift, scale=scale)
        hits += (
            stats.compare(metrics.auc, *studied, samples=config.samples, seed=seed).p_value <= 0.05
        )
    return f"{hits / config.repeats:.3f}"


def main(config: Config) -> None:
    if min(config.repeats, config.samples) < 1:
        raise UserError("--repeats and --samples must be at least 1")
    print(
        "| share of 95 % intervals that hold the truth | "
        + " | ".join(f"{n} subjects" for n in COUNTS)
        + " |"
    )
    print("|---" * (1 + len(COUNTS)) + "|", flush=True)
    for world in WORLDS:
        found = (coverage(world, n, repeats=config.repeats) for n in COUNTS)
        print(f"| {world.name} | {' | '.join(found)} |", flush=True)
    print("\n| AUC, 50 subjects: share of p <= 0.05 | equally good | better by 0.8 sd |")
    print("|---|---|---|", flush=True)
    for shift, scale in SCALES:
        size, power = (
            found_share(50, gain=g, shift=shift, scale=scale, config=config) for g in (0.0, 0.8)
        )
        print(f"| logits of the second x {scale:g} {shift:+g} | {size} | {power} |", flush=True)


if __name__ == "__main__":
    app.run(main, Config)

"""Linear probes of all seeds, folds and decays as one program, against scikit-learn one by one.

    python -m benchmarks.probes

Both standardise inside each fold, choose the decay by cross-validation, and fit all rows by the
best. Features are made up: those of two classes lie a little apart. A step is one training size, of
all seeds. Both ways take turns; compiling is told of apart.
"""

import dataclasses
import functools
import time

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import common, learner
from benchmarks.common import Row
from medjax import app
from medjax.config import option
from medjax.errors import UserError
from medjax.tasks.transfer.probe import DECAYS, fit_probes

FOLDS, CLASSES = 5, 2


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    rows: int = option(400, "training rows of a seed")
    features: int = option(1280, "of a row; EfficientNet-Lite has 1,280")
    seeds: int = option(5, "how many")
    repeats: int = option(5, "repetitions, of which the median is reported")
    device: str = option("cpu", "where ours runs", choices=("cpu", "gpu"))
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.features, config.seeds, config.repeats) < 1 or config.rows < FOLDS * CLASSES:
        raise UserError(f"--rows: at least {FOLDS * CLASSES}; all others: at least 1")
    learner.use(config.device)
    busy = common.busy_cores()
    rng = np.random.default_rng(0)
    count = config.rows * config.seeds
    label = np.arange(count) % CLASSES
    x = rng.normal(size=(count, config.features)).astype(np.float32)
    x[:, :20] += 0.5 * label[:, None]
    rows = np.arange(count).reshape(config.seeds, config.rows)
    fold = np.tile(np.arange(config.rows) // CLASSES % FOLDS, (config.seeds, 1))
    began = time.perf_counter()
    target = np.eye(CLASSES, dtype=np.float32)[label]
    fit = fit_probes.lower(x, target, rows, fold, folds=FOLDS).compile()
    compile_seconds = time.perf_counter() - began
    times = common.take_turns(
        {
            "medjax": functools.partial(fit_ours, fit, x, target, rows, fold),
            "scikit-learn": functools.partial(fit_theirs, x, label, rows, fold),
        },
        repeats=config.repeats,
    )
    about = learner.about()
    common.report(
        f"{config.seeds} seeds x {len(DECAYS)} decays x {FOLDS} folds, {config.rows} rows of "
        f"{config.features} features, {config.repeats} repetitions",
        [
            Row("medjax", times["medjax"], compile_seconds),
            Row("scikit-learn", times["scikit-learn"]),
        ],
        busy=busy,
        versions=about["versions"],
        device=about["device"],
        path=config.json,
    )


def fit_ours(fit, *tables: np.ndarray) -> float:
    """Seconds of all seeds."""
    began = time.perf_counter()
    jax.block_until_ready(fit(*tables))
    return time.perf_counter() - began


def fit_theirs(x: np.ndarray, label: np.ndarray, rows: np.ndarray, fold: np.ndarray) -> float:
    """The same, one probe after the other."""
    began = time.perf_counter()
    for mine, part in zip(rows, fold, strict=True):
        features, target = x[mine], label[mine]
        losses = [
            sum(_held_out(features, target, part == number, decay) for number in range(FOLDS))
            for decay in DECAYS
        ]
        _probe(DECAYS[int(np.argmin(losses))], len(mine)).fit(features, target)
    return time.perf_counter() - began


def _probe(decay: float, count: int):
    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / (decay * count), max_iter=200))


def _held_out(x: np.ndarray, target: np.ndarray, out: np.ndarray, decay: float) -> float:
    """The summed cross-entropy of what is held out."""
    probe = _probe(decay, int((~out).sum())).fit(x[~out], target[~out])
    return float(log_loss(target[out], probe.predict_proba(x[out]), normalize=False, labels=[0, 1]))


if __name__ == "__main__":
    app.run(main, Config)

"""Paired comparison of two models on the same cases.

    python -m experiments.compare A/predictions.csv B/predictions.csv

The files are those of `experiments.classify`, or of `experiments.heatmap`. Prints each metric of A
and B, the difference B - A with its 95 % interval (paired bootstrap over subjects) and the p-value
of a paired permutation test; `--output=FILE` writes them as JSON.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax import app, landmark_metrics, report, stats
from medjax.errors import UserError
from medjax.landmark_report import LandmarkPredictions
from medjax.metrics import CLASSIFICATION, Metric
from medjax.report import Predictions
from medjax.train.record import write_json

option = app.option


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one comparison; its fields are the flags."""

    files: tuple[str, ...] = option((), "predictions.csv of A and of B")
    samples: int = option(2000, "bootstrap samples, and permutations")
    seed: int = option(0, "of both")
    radii_mm: tuple[float, ...] = option((2.0, 2.5, 3.0, 4.0, 10.0), "of the success rates of "
                                         "landmarks", item=float)
    output: str = option("", "write the numbers here as JSON")


def main(config: Config) -> None:
    if len(config.files) != 2:
        raise UserError("name two predictions.csv files, or the work directories that hold them")
    if config.samples < 1:
        raise UserError(f"--samples={config.samples}: must be at least 1")
    if min(config.radii_mm, default=0.0) <= 0:
        raise UserError("--radii_mm: give one or more positive radii")
    answers = read([_file(name) for name in config.files], config.radii_mm)
    found = {name: stats.compare(metric, answers.truth, answers.a, answers.b, answers.subject_id,
                                 samples=config.samples, seed=config.seed)
             for name, metric in answers.metrics.items()}
    rows = [(name, f"{c.a:.4f}", f"{c.b:.4f}", f"{c.difference.value:+.4f}",
             f"[{c.difference.low:+.4f}, {c.difference.high:+.4f}]", f"{c.p_value:.4f}")
            for name, c in found.items()]
    report.show(f"{len(answers.truth)} cases of {len(set(answers.subject_id))} subjects",
                ("metric", "A", "B", "B - A", "95 % interval", "p"), rows,
                [f"A: {config.files[0]}", f"B: {config.files[1]}",
                 "p-values are not corrected for the number of metrics"])
    if config.output:
        write_json(Path(config.output), {name: {
            "a": c.a, "b": c.b, "difference": report.estimate_to_dict(c.difference),
            "p_value": c.p_value} for name, c in found.items()})


def _file(name: str) -> Path:
    path = Path(name)
    path = path / "predictions.csv" if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file")
    return path


class Answers(NamedTuple):
    """What two models answered to the same cases, as the metrics take it."""

    truth: np.ndarray
    a: np.ndarray
    b: np.ndarray
    subject_id: list[str]
    metrics: dict[str, Metric]


def read(paths: list[Path], radii_mm: Sequence[float]) -> Answers:
    """Of classes, or of landmarks where the first file has a column `landmark`.

    Raises:
      UserError: unless both files hold the same cases.
    """
    with paths[0].open(errors="replace") as f:
        landmarks = "landmark" in f.readline().strip().split(",")
    if landmarks:
        p, q = (LandmarkPredictions.read(path) for path in paths)
        q = align_landmarks(p, q)
        return Answers(p.present, p.error_mm, q.error_mm, p.subject_id,
                       landmark_metrics.declared(radii_mm))
    a, b = (Predictions.read(path) for path in paths)
    b = align(a, b)
    return Answers(a.label, a.probability, b.probability, a.subject_id, CLASSIFICATION)


def order(a: list[str], b: list[str]) -> list[int]:
    """Where the cases of `a` stand in `b`; raises UserError unless both hold the same."""
    place = {case: i for i, case in enumerate(b)}
    odd = set(a) ^ set(b)
    if odd:
        raise UserError(f"{len(odd)} cases are in one file only, such as {min(odd)!r}")
    if len(place) != len(b) or len(a) != len(b):
        raise UserError("a case stands more than once in a file")
    return [place[case] for case in a]


def align_landmarks(a: LandmarkPredictions, b: LandmarkPredictions) -> LandmarkPredictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same landmarks at the same places.
    """
    if a.names != b.names:
        raise UserError("the landmarks differ")
    rows = order(a.case_id, b.case_id)
    if not np.allclose(a.true_mm, b.true_mm[rows], atol=1e-3, equal_nan=True):
        raise UserError("the reference points of some cases differ; these are not the same data")
    return LandmarkPredictions(
        a.case_id, a.subject_id, a.names, b.found[rows], b.true[rows], b.found_mm[rows],
        b.true_mm[rows], b.confidence[rows])


def align(a: Predictions, b: Predictions) -> Predictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same labels and classes.
    """
    if a.classes != b.classes:
        raise UserError(f"the classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    rows = order(a.case_id, b.case_id)
    if (b.label[rows] != a.label).any():
        raise UserError("the labels of some cases differ; these are not the same data")
    return Predictions(a.case_id, a.subject_id, a.label, np.asarray(b.probability)[rows],
                       a.classes)


if __name__ == "__main__":
    app.run(main, Config)

"""Paired comparison of two models on the same cases.

    python -m experiments.compare A/predictions.csv B/predictions.csv

Prints each metric of A and B, the difference B - A with its 95 % interval (paired bootstrap over
subjects) and the p-value of a paired permutation test; `--output=FILE` writes them as JSON.
"""

import dataclasses
from pathlib import Path

import numpy as np

from medjax import app, report, stats
from medjax.errors import UserError
from medjax.metrics import CLASSIFICATION
from medjax.report import Predictions
from medjax.train.record import write_json

option = app.option


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of one comparison; its fields are the flags."""

    files: tuple[str, ...] = option((), "predictions.csv of A and of B")
    samples: int = option(2000, "bootstrap samples, and permutations")
    seed: int = option(0, "of both")
    output: str = option("", "write the numbers here as JSON")


def main(config: Config) -> None:
    if len(config.files) != 2:
        raise UserError("name two predictions.csv files, or the work directories that hold them")
    if config.samples < 1:
        raise UserError(f"--samples={config.samples}: must be at least 1")
    a, b = (Predictions.read(_file(name)) for name in config.files)
    b = align(a, b)
    found = {name: stats.compare(metric, a.label, a.probability, b.probability, a.subject_id,
                                 samples=config.samples, seed=config.seed)
             for name, metric in CLASSIFICATION.items()}
    rows = [(name, f"{c.a:.4f}", f"{c.b:.4f}", f"{c.difference.value:+.4f}",
             f"[{c.difference.low:+.4f}, {c.difference.high:+.4f}]", f"{c.p_value:.4f}")
            for name, c in found.items()]
    report.show(f"{len(a.label)} cases of {len(set(a.subject_id))} subjects",
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


def align(a: Predictions, b: Predictions) -> Predictions:
    """`b` in the order of `a`.

    Raises:
      UserError: unless both hold the same cases with the same labels and classes.
    """
    if a.classes != b.classes:
        raise UserError(f"the classes differ: {', '.join(a.classes)} and {', '.join(b.classes)}")
    place = {case: i for i, case in enumerate(b.case_id)}
    odd = set(a.case_id) ^ set(b.case_id)
    if odd:
        raise UserError(f"{len(odd)} cases are in one file only, such as {min(odd)!r}")
    if len(place) != len(b.case_id) or len(a.case_id) != len(b.case_id):
        raise UserError("a case stands more than once in a file")
    order = [place[case] for case in a.case_id]
    if (b.label[order] != a.label).any():
        raise UserError("the labels of some cases differ; these are not the same data")
    return Predictions(a.case_id, a.subject_id, a.label, np.asarray(b.probability)[order],
                       a.classes)


if __name__ == "__main__":
    app.run(main, Config)

"""Findings: several labels for each image, each present, absent or not known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import plot, report
from medjax.evaluation.metrics import Metric
from medjax.outputs import exam_images
from medjax.outputs.base import (
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairedAnswers,
    PairReader,
    Picture,
    Predicted,
    mean_over_seeds,
)
from medjax.outputs.findings import metrics, operating
from medjax.outputs.findings.predictions import FindingPredictions
from medjax.outputs.preparing import prepare_images
from medjax.outputs.value_pairs import read_values
from medjax.outputs.worst import draw_worst, find_worst
from medjax.typing import Json, JsonView

_CURVES = 12  # findings that a figure shows, those with most cases


def describe(info: DatasetInfo) -> Description:
    """What such a network does."""
    return Description("tells which findings an exam image has", info.findings)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> FindingPredictions:
    """Probabilities `[n, finding]` beside the findings; of new images these are not known."""
    unknown = np.full((len(split), len(spec.info.findings)), np.nan)
    return FindingPredictions(
        list(split.case_id),
        list(split.subject_id),
        np.asarray(split.targets.get("findings", unknown), float),
        np.asarray(predicted["probability"], float),
        spec.info.findings,
    )


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[FindingPredictions, str]:
    """The same probabilities for every case."""
    share = np.nanmean(train["findings"], 0)
    constant = {"probability": np.tile(share, (len(split), 1))}
    return tabulate(split, spec, constant), "how often the training set has each finding"


def declare_metrics(spec: ModelSpec, measures: Any = None) -> dict[str, Metric]:
    """The metrics, which are the same for all findings."""
    return metrics.METRICS


def details(evaluation: Evaluation[FindingPredictions]) -> Json:
    """Each finding by itself, and how many were not known."""
    p = evaluation.ensemble
    by_name = metrics.by_finding(p.present, p.probability, p.names, p.subject_id)
    missing = int(np.isnan(p.present).sum())
    rows = [
        [
            name,
            report.with_interval(row["auc"]),
            f"{row['average_precision']:.3f}",
            str(row["present"]),
            str(row["known"]),
        ]
        for name, row in by_name.items()
    ]
    columns = ["finding", "auc [95 % interval]", "average precision", "present", "known"]
    note = f"{missing} of {p.present.size} findings are not known, and are left out"
    tables = [{"title": "Each finding", "columns": columns, "rows": rows, "remarks": []}]
    chosen = operating.describe_findings(evaluation)
    if chosen:
        tables.append(operating.tabulate_findings(chosen, on_same=evaluation.tuned is p))
    return {
        "findings": {name: {**row, **chosen.get(name, {})} for name, row in by_name.items()},
        "tables": tables,
        "remarks": [note] if missing else [],
    }


def draw(folder: Path, evaluation: Evaluation[FindingPredictions]) -> list[Picture]:
    """A curve for each finding, and the images whose findings were most surely told wrong."""
    _draw_curves(folder / "roc.png", evaluation.ensemble)
    picture = Picture("roc.png", "Receiver operating characteristic of each finding.")
    p = evaluation.ensemble
    worst = find_worst(np.abs(p.probability - p.present), least=0.5)
    cases = ((case, _tell_mistake(p, case, place)) for case, place in worst)
    return [picture, *draw_worst(folder, evaluation, cases)]


def _tell_mistake(predictions: FindingPredictions, case: int, finding: int) -> str:
    there = "has" if predictions.present[case, finding] else "has no"
    share = predictions.probability[case, finding]
    return f"{there} {predictions.names[finding]}, told at {share:.0%}"


def _draw_curves(path: Path, predictions: FindingPredictions) -> None:
    from sklearn.metrics import roc_curve

    count = np.nansum(predictions.present, 0)
    shown = sorted(np.argsort(-count, kind="stable")[:_CURVES].tolist())

    def fill(figure: Any, axes: Any) -> None:
        ax = axes[0][0]
        for number, colour in zip(shown, plot.pick_colours(len(shown)), strict=True):
            truth = predictions.present[:, number]
            known = np.isfinite(truth)
            if not 0 < truth[known].sum() < known.sum():
                continue
            x, y, _ = roc_curve(truth[known], predictions.probability[known, number])
            ax.plot(x, y, color=colour, label=plot.short(predictions.names[number]))
        ax.plot([0, 1], [0, 1], color="0.7", ls=":")
        ax.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
        figure.legend(*ax.get_legend_handles_labels(), loc="outside right center")

    plot.new_figure(path, 1, 1, (5.6, 3.8), fill)


class FindingProbabilities(NamedTuple):
    """What one image shows.

    Attributes:
      probability: of each finding.
      calibrated: the same with the temperatures of validation, and called: whether each is present,
        at Youden's point; of those findings that the run has chosen these for.
    """

    case_id: str
    probability: dict[str, float]
    calibrated: Mapping[str, float] = {}
    called: Mapping[str, bool] = {}

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        return [
            {
                "case_id": self.case_id,
                **{f"p_{name}": p for name, p in self.probability.items()},
                **{f"calibrated_{name}": p for name, p in self.calibrated.items()},
                **{f"{name} at Youden": int(called) for name, called in self.called.items()},
            }
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Any]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The image, and a bar for each finding."""
        plot.image_with_bars(path, image, self.probability, title=self.case_id)


def answers_of(predictions: FindingPredictions, split: Split) -> list[FindingProbabilities]:
    """One answer a case."""
    return [
        FindingProbabilities(case, dict(zip(predictions.names, map(float, p), strict=True)))
        for case, p in zip(predictions.case_id, predictions.probability, strict=True)
    ]


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """As of `outputs.value_pairs.read_values`."""
    return read_values(
        first,
        other,
        FindingPredictions.COLUMNS,
        what="findings",
        metrics_of=lambda names: metrics.METRICS,
    )


def decide(answer: FindingProbabilities, spec: ModelSpec, report: JsonView) -> FindingProbabilities:
    """The answer with what its run has chosen on validation."""
    return answer._replace(
        calibrated=operating.read_calibrated(report, answer.probability),
        called=operating.read_calls(report, answer.probability),
    )


FINDINGS: Output[FindingPredictions] = Output(
    columns=("findings",),
    describe=describe,
    prepare=prepare_images(exam_images.prepare, from_array=exam_images.from_array),
    tabulate=tabulate,
    ensemble=mean_over_seeds,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=answers_of,
    decide=decide,
    compare=PairReader(FindingPredictions.recognises, read_pair),
)

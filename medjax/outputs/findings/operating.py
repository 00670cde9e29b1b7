"""The threshold and the temperature of each finding: chosen on validation, by the rules of two
classes."""

from collections.abc import Mapping

import numpy as np

from medjax.evaluation import metrics, report
from medjax.outputs.base import Evaluation, read_number
from medjax.outputs.findings.predictions import FindingPredictions
from medjax.outputs.labels import operating
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.typing import Json, JsonView

_USED = "Youden"  # the point at which new images are called


def take_finding(predictions: FindingPredictions, place: int) -> LabelPredictions:
    """The cases where one finding is known, as two classes, the second that it is present."""
    known = np.flatnonzero(np.isfinite(predictions.present[:, place]))
    p = predictions.probability[known, place]
    return LabelPredictions(
        [predictions.case_id[i] for i in known],
        [predictions.subject_id[i] for i in known],
        predictions.present[known, place].astype(int),
        np.stack([1 - p, p], 1),
        ("absent", "present"),
    )


def describe_findings(evaluation: Evaluation[FindingPredictions]) -> dict[str, Json]:
    """By finding, its operating points and its temperature; of one that validation has never or
    always, nothing."""
    options = evaluation.measures or operating.OperatingOptions()
    out: dict[str, Json] = {}
    for place, name in enumerate(evaluation.ensemble.names):
        tuned, cases = (take_finding(p, place) for p in (evaluation.tuned, evaluation.ensemble))
        points = operating.choose_points(tuned, 1, options)
        if points and len(cases.label):
            out[name] = {
                "operating_points": [operating.describe_point(p, cases, 1) for p in points],
                "calibration": operating.describe_temperature(tuned, cases, _ece),
            }
    return out


def _ece(predictions: LabelPredictions) -> float:
    return predictions.values({"ece": metrics.ece})["ece"]


def tabulate_findings(described: Mapping[str, Json], *, on_same: bool) -> Json:
    """A row for each finding: its point by Youden, and its temperature.

    Args:
      on_same: they were chosen on the cases that they are shown for.
    """
    rows = []
    for name, entry in described.items():
        point = entry["operating_points"][0]
        shown = (report.with_interval(point[rate]) for rate in ("sensitivity", "specificity"))
        temperature = entry["calibration"]["temperature"]
        rows.append([name, f"{point['threshold']:.3f}", *shown, f"{temperature:.2f}"])
    same = "; on the very cases that are reported, so these are optimistic" * on_same
    return {
        "title": f"Operating point of each finding ({_USED})",
        "columns": ["finding", "threshold", "sensitivity", "specificity", "temperature"],
        "rows": rows,
        "remarks": [f"thresholds and temperatures are chosen on validation{same}"],
    }


def read_calls(result: JsonView, probability: Mapping[str, float]) -> dict[str, bool]:
    """Which findings are called present, by the thresholds in a report, which may be a stranger's;
    those without one are left out."""
    calls, rows = {}, result.get("findings")
    for name, value in probability.items():
        entry = rows.get(name) if isinstance(rows, Mapping) else None
        points = entry.get("operating_points") if isinstance(entry, Mapping) else None
        threshold = operating.read_thresholds(points).get(_USED)
        if threshold is not None:
            calls[name] = value >= threshold
    return calls


def read_calibrated(result: JsonView, probability: Mapping[str, float]) -> dict[str, float]:
    """The probabilities with the temperatures of a report; likewise."""
    out = {}
    for name, value in probability.items():
        temperature = read_number(result, "findings", name, "calibration", "temperature")
        if temperature is not None and temperature > 0:
            out[name] = float(operating.soften(np.array([[1 - value, value]]), temperature)[0, 1])
    return out

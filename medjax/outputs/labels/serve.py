"""What a classifier answers to an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import plot
from medjax.outputs.base import ModelSpec, read_number
from medjax.outputs.labels import operating
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.typing import Json, JsonView


class ClassProbabilities(NamedTuple):
    """What one image shows.

    Attributes:
      probability: of each class.
      calibrated: the same with the temperature of validation; empty where none is known.
      decisions: the class at each operating point of the run, by its name.
    """

    case_id: str
    probability: dict[str, float]
    calibrated: Mapping[str, float] = {}
    decisions: Mapping[str, str] = {}

    @property
    def label(self) -> str:
        """The class with the highest probability."""
        return max(self.probability, key=lambda c: self.probability[c])

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        return [
            {
                "case_id": self.case_id,
                "class": self.label,
                **{f"p_{name}": p for name, p in self.probability.items()},
                **{f"calibrated_{name}": p for name, p in self.calibrated.items()},
                **{f"class at {name}": decision for name, decision in self.decisions.items()},
            }
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Any]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray, *, most: int = 6) -> None:
        """The image, and bars of its likeliest classes."""
        likeliest = sorted(self.probability.items(), key=lambda pair: -pair[1])[:most]
        plot.image_with_bars(path, image, dict(likeliest), title=self.case_id, marked=self.label)


def answers_of(predictions: LabelPredictions, split: Split) -> list[ClassProbabilities]:
    """One answer a case."""
    return [
        ClassProbabilities(case, dict(zip(predictions.classes, map(float, p), strict=True)))
        for case, p in zip(predictions.case_id, predictions.probability, strict=True)
    ]


def decide(answer: ClassProbabilities, spec: ModelSpec, report: JsonView) -> ClassProbabilities:
    """The answer with the temperature and the operating points that its run chose on validation;
    those of a report that does not have them, or not as numbers, are left out."""
    names, probability = list(answer.probability), list(answer.probability.values())
    temperature = read_number(report, "calibration", "temperature")
    calibrated = (
        dict(
            zip(
                names,
                operating.soften(np.array([probability]), temperature)[0].tolist(),
                strict=True,
            )
        )
        if temperature and temperature > 0
        else {}
    )
    positive = spec.info.positive
    if not positive:
        return answer._replace(calibrated=calibrated)
    other = next(name for name in names if name != positive)
    thresholds = operating.read_thresholds(report.get("operating_points"))
    decisions = {
        name: positive if answer.probability[positive] >= threshold else other
        for name, threshold in thresholds.items()
    }
    return answer._replace(calibrated=calibrated, decisions=decisions)

"""What a classifier answers to an image."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import plot
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.typing import Json


class ClassProbabilities(NamedTuple):
    """What one image shows."""

    case_id: str
    probability: dict[str, float]

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

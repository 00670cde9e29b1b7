"""What a network answers of the quantities of an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import report
from medjax.outputs.base import ModelSpec
from medjax.outputs.quantities import plot
from medjax.outputs.quantities.conformal import read_radii
from medjax.outputs.quantities.predictions import QuantityPredictions
from medjax.typing import Json, JsonView


class Quantities(NamedTuple):
    """What is predicted from one image.

    Attributes:
      quantity: the answer to each, in its own unit.
      radius: half of the interval about an answer that holds for 90 % of further subjects, where
        the run has found one on validation.
    """

    case_id: str
    quantity: dict[str, float]
    radius: Mapping[str, float] = {}

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        row: Json = {"case_id": self.case_id}
        for name, value in self.quantity.items():
            row[f"predicted_{name}"] = value
            if name in self.radius:
                row[f"low_{name}"] = value - self.radius[name]
                row[f"high_{name}"] = value + self.radius[name]
        return [row]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Any]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The image, and the answers with their intervals."""
        shown = {
            name: report.digits(value, count=4)
            + (f" ± {report.digits(self.radius[name], count=2)}" if name in self.radius else "")
            for name, value in self.quantity.items()
        }
        plot.draw_answer(path, image, shown, title=self.case_id)


def answers_of(predictions: QuantityPredictions, split: Split) -> list[Quantities]:
    """One answer a case."""
    return [
        Quantities(case, dict(zip(predictions.names, map(float, row), strict=True)))
        for case, row in zip(predictions.case_id, predictions.answer, strict=True)
    ]


def decide(answer: Quantities, spec: ModelSpec, result: JsonView) -> Quantities:
    """The answer with the intervals that its run has found on validation."""
    return answer._replace(radius=read_radii(result, spec.info.quantities))

"""The boxes of one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import images
from medjax.data.builders.boxes import file_size, moved, place
from medjax.data.dataset import Split
from medjax.data.found import tells_spacing
from medjax.outputs.base import ImageHints, ModelSpec, PreparedImage, read_number
from medjax.outputs.boxes import plot
from medjax.outputs.boxes.report import BoxPredictions
from medjax.outputs.preparing import fit_channels
from medjax.typing import Json, JsonView


class BoxAnswer(NamedTuple):
    """The boxes in one image, the best first.

    Attributes:
      names: of the classes.
      boxes_px: `[k, 2 * ndim]`, edges x, y[, z], low and then high, pixels of the file from the
        border of the first one.
      scores, labels: `[k]`.
      boxes_vox: the same in voxels of the prepared image.
      least_score: of boxes that count, as those of the run's report did.
    """

    case_id: str
    names: tuple[str, ...]
    boxes_px: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    boxes_vox: np.ndarray
    least_score: float = 0.0

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        axes = "xyz"[: self.boxes_px.shape[1] // 2]
        edges = [f"{a}{end}" for end in ("min", "max") for a in axes]
        return [
            {
                "case_id": self.case_id,
                "label": self.names[label],
                "score": float(score),
                "counted": int(score >= self.least_score),
                **dict(zip(edges, map(float, box), strict=True)),
            }
            for box, label, score in zip(self.boxes_px, self.labels, self.scores, strict=True)
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The boxes that count, over the image."""
        shown = self.scores >= self.least_score
        boxes, labels = self.boxes_vox[shown], self.labels[shown]
        plot.over(path, image, self.names, boxes, labels, title=self.case_id)


def answers_of(predictions: BoxPredictions, split: Split) -> list[BoxAnswer]:
    """One answer a case."""
    back = np.linalg.inv(split["to_file"])
    return [
        BoxAnswer(
            case,
            predictions.names,
            predictions.boxes_px[i],
            predictions.scores[i],
            predictions.labels[i],
            moved(predictions.boxes_px[i] - 0.5, back[i]),
        )
        for i, case in enumerate(predictions.case_id)
    ]


def decide(answer: BoxAnswer, spec: ModelSpec, report: JsonView) -> BoxAnswer:
    """The answer with the score from which on the report of the run has counted boxes."""
    score = read_number(report, "least_score")
    return answer if score is None else answer._replace(least_score=score)


def prepare(
    raw_image: images.RawImage, predictor: Any, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> PreparedImage:
    """An image on the grid of the training; raises UserError if it does not fit."""
    raw_image, shape = fit_channels(raw_image, spec, hints, case_id=case_id), spec.image_shape
    placed, _ = place(
        raw_image,
        shape=shape[:-1],
        grid_mm=spec.info.grid_mm,
        window=spec.window,
        spacing_mm=None if tells_spacing(raw_image) else hints.spacing_mm or None,
        origin=case_id,
    )
    sides = 2 * (len(shape) - 1)
    targets = {
        "to_file": placed.to_file,
        "file_size": np.array(file_size(raw_image), np.float32),
        "file_boxes": np.full((1, sides), np.nan),
        "box_label": np.full(1, -1, np.int32),
    }
    return PreparedImage(placed.image, case_id, targets)

"""What a network of embeddings answers to an image."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import plot
from medjax.outputs.embeddings.predictions import RetrievalPredictions
from medjax.typing import Json


class Embedding(NamedTuple):
    """The descriptor of one image, `[feature]`."""

    case_id: str
    vector: np.ndarray

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        return [
            {"case_id": self.case_id, **{f"e_{i}": float(v) for i, v in enumerate(self.vector)}}
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Any]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The image, and its descriptor as a strip of bars."""

        def fill(figure: Any, axes: Any) -> None:
            left, right = axes[0]
            picture = plot.flat(image)
            left.imshow(picture, cmap="gray" if picture.ndim == 2 else None)
            left.set_title(plot.short(self.case_id), fontsize=8, loc="left")
            left.axis("off")
            right.bar(np.arange(len(self.vector)), self.vector, width=1.0, color="C0")
            right.set(xlabel="feature", ylabel="value")

        plot.new_figure(path, 1, 2, (5.6, 2.4), fill)


def answers_of(predictions: RetrievalPredictions, split: Split) -> list[Embedding]:
    """One answer a case."""
    return [
        Embedding(case, np.asarray(vector))
        for case, vector in zip(predictions.case_id, predictions.embedding, strict=True)
    ]

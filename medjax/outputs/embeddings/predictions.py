"""Queries, what they found in the gallery, and how well it fits."""

import dataclasses
from pathlib import Path

import numpy as np

from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions, read_predictions
from medjax.files import write_table
from medjax.outputs.embeddings.metrics import MEASURES

NEIGHBOURS = "neighbours.csv"


@dataclasses.dataclass(frozen=True)
class RetrievalPredictions(Predictions):
    """Queries and what they found.

    Attributes:
      label: the class of each query, by name.
      scores: `[n, len(MEASURES)]`; NaN without a gallery.
      curve: precision at `metrics.RECALLS`, `[n, recall]`; NaN as `scores`.
      embedding: `[n, feature]`.
      neighbour: the cases of the gallery that are nearest, by name, `[n, k]`; neighbour_label:
        their classes; neighbour_row: where they stand in the gallery; distance: to them. Of fewer
        cases than that the last are "", -1 and NaN.
      by_bits: `ap_at_5` by the first bits of codes, `[n, size]`, of `ranking.list_prefixes`; of
        others `[n, 0]`.
      excluded: how many cases of the gallery are of the subject of the query, and passed over.
    """

    case_id: list[str]
    subject_id: list[str]
    label: np.ndarray
    scores: np.ndarray
    curve: np.ndarray
    embedding: np.ndarray
    neighbour: np.ndarray
    neighbour_label: np.ndarray
    neighbour_row: np.ndarray
    distance: np.ndarray
    excluded: np.ndarray
    by_bits: np.ndarray

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.label, self.scores

    def write(self, path: Path) -> None:
        """One row a query: its class, how well what it found fits, and how many were excluded."""
        header = ["case_id", "subject_id", "query_class", *MEASURES, "excluded"]
        rows = zip(
            self.case_id,
            self.subject_id,
            self.label,
            self.scores.tolist(),
            self.excluded.tolist(),
            strict=True,
        )
        write_table(path, header, ([c, s, y, *v, n] for c, s, y, v, n in rows))

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """The same, and `neighbours.csv`: one row a neighbour."""
        super().write_files(folder)
        rows = (
            [case, rank + 1, self.neighbour[i, rank], self.neighbour_label[i, rank], distance]
            for i, case in enumerate(self.case_id)
            for rank, distance in enumerate(self.distance[i].tolist())
            if self.neighbour_row[i, rank] >= 0
        )
        header = ["case_id", "rank", "neighbour", "neighbour_class", "distance"]
        write_table(folder / NEIGHBOURS, header, rows)
        return (NEIGHBOURS,)

    @classmethod
    def read(cls, path: Path) -> "RetrievalPredictions":
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        head, rows = read_predictions(path)
        wanted = ["case_id", "subject_id", "query_class", *MEASURES, "excluded"]
        if head != wanted or not rows:
            raise UserError(f"{path}: expected the columns {', '.join(wanted)}, one row a query")
        try:
            values = np.array([[float(v or "nan") for v in row[3:]] for row in rows])
            if values.shape[1] != len(MEASURES) + 1:
                raise ValueError("a value is missing")
        except ValueError as e:
            raise UserError(f"{path}: {e}") from None
        text, numbers = np.full((len(rows), 0), ""), np.zeros((len(rows), 0))
        return cls(
            [r[0] for r in rows],
            [r[1] for r in rows],
            np.array([r[2] for r in rows]),
            values[:, :-1],
            numbers,
            numbers,
            text,
            text,
            numbers.astype(int),
            numbers,
            values[:, -1].astype(int),
            numbers,
        )

"""What a run with boxes leaves behind: boxes in pixels of the file, and which are hits."""

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data.builders.boxes import moved
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions
from medjax.files import read_records, write_table
from medjax.outputs.base import Predicted
from medjax.outputs.boxes import metrics

_EDGES = ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")


@dataclasses.dataclass(frozen=True)
class BoxPredictions(Predictions):
    """Boxes of n cases, beside their reference.

    Attributes:
      case_id, subject_id: `[n]`.
      names: of the classes.
      boxes_px: `[n]` of `[k, 2 * ndim]`, edges x, y[, z] low and then high, pixels of the file.
      scores, labels: `[n]` of `[k]`.
      true_px, reference_labels: those of the reference.
    """

    case_id: list[str]
    subject_id: list[str]
    names: tuple[str, ...]
    boxes_px: list[np.ndarray]
    scores: list[np.ndarray]
    labels: list[np.ndarray]
    true_px: list[np.ndarray]
    reference_labels: list[np.ndarray]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.counts, self.matched()

    @property
    def counts(self) -> np.ndarray:
        """How many boxes of each class the reference has: `[n, class]`."""
        return self._count(self.reference_labels)

    def counts_above(self, score: float) -> np.ndarray:
        """How many boxes of each class have at least this score: `[n, class]`."""
        return self._count([x[s >= score] for x, s in zip(self.labels, self.scores, strict=True)])

    def _count(self, labels: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([np.bincount(x, minlength=len(self.names)) for x in labels])

    def matched(self) -> np.ndarray:
        """Score and hits of each box, as of `metrics`: `[n, class, most, 1 + thresholds]`."""
        most = max([1, *(len(s) for s in self.scores)])
        shape = (len(self.case_id), len(self.names), most, 1 + len(metrics.THRESHOLDS))
        out = np.full(shape, np.nan)
        for i, c in np.ndindex(shape[:2]):
            mine, theirs = self.labels[i] == c, self.reference_labels[i] == c
            scores = self.scores[i][mine]
            overlap = metrics.overlaps(self.boxes_px[i][mine], self.true_px[i][theirs])
            out[i, c, : len(scores), 0] = scores
            out[i, c, : len(scores), 1:] = metrics.match(scores, overlap)
        return out

    def sizes_and_hits(self, label: int, *, score: float) -> tuple[np.ndarray, np.ndarray]:
        """Of each box of the reference of one class: its size, pixels, and whether a box of at
        least this score meets it (intersection over union 0.5)."""
        sizes, hits = [], []
        for i in range(len(self.case_id)):
            true = self.true_px[i][self.reference_labels[i] == label]
            mine = (self.labels[i] == label) & (self.scores[i] >= score)
            met = metrics.met_references(
                self.scores[i][mine],
                metrics.overlaps(self.boxes_px[i][mine], true),
                threshold=metrics.THRESHOLDS[0],
            )
            low, high = np.split(true, 2, axis=1)
            sizes.append((high - low).prod(1))
            hits.append(np.isin(np.arange(len(true)), met))
        return np.concatenate(sizes), np.concatenate(hits)

    def write(self, path: Path) -> None:
        """A row a box, of the reference and of what was predicted; a case without any has one
        row."""
        axes = self.true_px[0].shape[1] // 2
        edges = [*_EDGES[:axes], *_EDGES[3 : 3 + axes]]
        rows: list[list] = []
        for i, case in enumerate(self.case_id):
            subject, before = self.subject_id[i], len(rows)
            for box, label in zip(self.true_px[i], self.reference_labels[i], strict=True):
                rows.append([case, "reference", self.names[label], math.nan, *box, subject])
            predicted = zip(self.boxes_px[i], self.labels[i], self.scores[i], strict=True)
            for box, label, score in predicted:
                rows.append([case, "predicted", self.names[label], score, *box, subject])
            if len(rows) == before:
                rows.append([case, "none", "", math.nan, *[math.nan] * 2 * axes, subject])
        write_table(path, ["case_id", "what", "label", "score", *edges, "subject_id"], rows)

    @classmethod
    def read(cls, path: Path) -> "BoxPredictions":
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        try:
            rows = read_records(path)
            cases = list(dict.fromkeys(r["case_id"] for r in rows))
            names = tuple(sorted({r["label"] for r in rows if r["label"]}))
            edges = [e for e in _EDGES if e in rows[0]]
            by_case = [[r for r in rows if r["case_id"] == c] for c in cases]

            def boxes(what: str) -> list[np.ndarray]:
                return [
                    np.array(
                        [[float(r[e]) for e in edges] for r in some if r["what"] == what]
                    ).reshape(-1, len(edges))
                    for some in by_case
                ]

            def labels(what: str) -> list[np.ndarray]:
                return [
                    np.array([names.index(r["label"]) for r in some if r["what"] == what], int)
                    for some in by_case
                ]

            scores = [
                np.array([float(r["score"]) for r in some if r["what"] == "predicted"])
                for some in by_case
            ]
            return cls(
                cases,
                [some[0]["subject_id"] for some in by_case],
                names,
                boxes("predicted"),
                scores,
                labels("predicted"),
                boxes("reference"),
                labels("reference"),
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of boxes ({e})") from None


def tabulate(split: Split, names: Sequence[str], predicted: Predicted) -> BoxPredictions:
    """Boxes `boxes` `[n, most, 2 * ndim]`, `scores` and `labels` `[n, most]` in voxels of the
    prepared images, beside the reference."""
    there = ~np.isnan(predicted["scores"])
    boxes = [
        # From the centre of the first pixel to its border; what lies beyond the image is cut off.
        np.clip(moved(b[k].astype(float), to_file) + 0.5, 0.0, np.tile(size, 2))
        for b, k, to_file, size in zip(
            predicted["boxes"], there, split["to_file"], split["file_size"], strict=True
        )
    ]
    true = split["box_label"] >= 0
    return BoxPredictions(
        split.case_id,
        split.subject_id,
        tuple(names),
        boxes,
        [s[k].astype(float) for s, k in zip(predicted["scores"], there, strict=True)],
        [x[k].astype(int) for x, k in zip(predicted["labels"], there, strict=True)],
        [b[k] for b, k in zip(split["file_boxes"], true, strict=True)],
        [x[k] for x, k in zip(split["box_label"], true, strict=True)],
    )

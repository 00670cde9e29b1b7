"""Cases with their labels and the probability of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medjax.data import walk
from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions, read_predictions
from medjax.files import write_table

COARSE = "predictions_coarse.csv"


class LabelPredictions(Predictions):
    """Cases with their labels and the probability of each class."""

    def __init__(
        self,
        case_id: Sequence[str],
        subject_id: Sequence[str],
        label: np.ndarray,
        probability: np.ndarray,
        classes: Sequence[str],
        metadata: Sequence[Mapping[str, str]] = (),
        groups: Sequence[str] = (),
    ):
        """`groups`: the coarse class of each class; none where there are none."""
        self.groups = tuple(groups)
        self.metadata = list(metadata)
        self.case_id, self.subject_id = list(case_id), list(subject_id)
        if (np.asarray(label) != np.rint(label)).any():
            raise UserError("labels must be whole numbers: the numbers of the classes")
        self.label, self.probability = np.asarray(label, int), np.asarray(probability, float)
        self.classes = list(classes)

    @classmethod
    def concatenate(cls, tables: Sequence["LabelPredictions"]) -> "LabelPredictions":
        """The cases of several tables, one after the other."""
        return cls(
            [c for t in tables for c in t.case_id],
            [s for t in tables for s in t.subject_id],
            np.concatenate([t.label for t in tables]),
            np.concatenate([t.probability for t in tables]),
            tables[0].classes,
            [m for t in tables for m in t.metadata],
            tables[0].groups,
        )

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.label, self.probability

    def write(self, path: Path) -> None:
        """One row a case: case_id, subject_id, label, `p_CLASS` for each class, and the metadata.

        The metadata's columns are called `meta_NAME`.
        """
        extra = list(self.metadata[0]) if self.metadata else []
        header = [
            "case_id",
            "subject_id",
            "label",
            *(f"p_{c}" for c in self.classes),
            *(f"meta_{name}" for name in extra),
        ]
        write_table(
            path,
            header,
            (
                [case, subject, self.classes[y], *p, *(more[name] for name in extra)]
                for case, subject, y, p, more in zip(
                    self.case_id,
                    self.subject_id,
                    self.label,
                    self.probability,
                    self.metadata or [{}] * len(self.case_id),
                    strict=True,
                )
            ),
        )

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """The same, and `predictions_coarse.csv` where there are coarse classes."""
        super().write_files(folder)
        if not self.groups:
            return ()
        self.coarse().write(folder / COARSE)
        return (COARSE,)

    @classmethod
    def read(cls, path: Path) -> "LabelPredictions":
        """Reads what `write` wrote, without the metadata.

        Raises:
          UserError: if the file is not of that form; it names the line.
        """
        head, rows = read_predictions(path)
        width = len(head)
        head = [h for h in head if not h.startswith("meta_")]
        classes = [h[2:] for h in head[3:]]
        wanted = ["case_id", "subject_id", "label", *(f"p_{c}" for c in classes)]
        if head != wanted or len(classes) < 2 or not rows:
            raise UserError(
                f"{path}: expected the columns case_id, subject_id, label and p_CLASS "
                "of at least two classes, and one row a case"
            )
        labels, values = [], []
        for number, row in enumerate(rows, start=2):
            try:
                labels.append(classes.index(row[2]))
                values.append([float(v) for v in row[3 : len(head)]])
                if len(row) != width or not np.isfinite(values[-1]).all():
                    raise ValueError("a value is missing or not finite")
            except (ValueError, IndexError) as e:
                raise UserError(f"{path}, line {number}: {e}") from None
        return cls(
            [r[0] for r in rows], [r[1] for r in rows], np.array(labels), np.array(values), classes
        )

    def with_probability(self, probability: np.ndarray) -> "LabelPredictions":
        """The same cases with other answers `[n, class]`."""
        return LabelPredictions(
            self.case_id,
            self.subject_id,
            self.label,
            probability,
            self.classes,
            self.metadata,
            self.groups,
        )

    def coarse(self) -> "LabelPredictions":
        """The same of the coarse classes, whose probability is the sum of those of their classes
        (Esteva et al. 2017)."""
        names = sorted(set(self.groups), key=walk.natural)
        into = np.array([names.index(group) for group in self.groups])
        return LabelPredictions(
            self.case_id,
            self.subject_id,
            into[self.label],
            self.probability @ np.eye(len(names))[into],
            names,
            self.metadata,
        )

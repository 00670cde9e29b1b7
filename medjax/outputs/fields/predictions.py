"""What a run that registers leaves behind: a transform a pair, and its scores."""

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions
from medjax.evaluation.stats import nan_mean
from medjax.files import read_records, write_cases, write_table
from medjax.outputs.base import Predicted
from medjax.outputs.fields import metrics
from medjax.outputs.fields.metrics import ScoreColumns
from medjax.outputs.fields.registered_pair import RegisteredPair

_FURTHER = ("field_error_vox", "folding", "log_jacobian_sd", "correlation")


@dataclasses.dataclass(frozen=True)
class FieldPredictions(Predictions):
    """Transforms of n pairs, beside what is known of them.

    Attributes:
      case_id, subject_id, fixed, moving: `[n]`; the subject is that of the fixed image.
      names: of the structures.
      unit: of distances, `mm`, or `vox` where the size of voxels is not known.
      present: `[n, class]`, whether the fixed image has the structure.
      scores: `[n, k]`, with the columns that `metrics.ScoreColumns` names.
      pairs: `[n]`, with their transforms; empty where they were read from a table.
    """

    case_id: list[str]
    subject_id: list[str]
    fixed: list[str]
    moving: list[str]
    names: tuple[str, ...]
    unit: str
    present: np.ndarray
    scores: np.ndarray
    pairs: list[RegisteredPair]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.scores

    @property
    def columns(self) -> ScoreColumns:
        return ScoreColumns(len(self.names))

    @property
    def has_points(self) -> bool:
        """Whether the error of points is known of a pair."""
        return bool(np.isfinite(self.scores[:, self.columns.tre]).any())

    @property
    def has_places(self) -> bool:
        """Whether the error of the field itself is."""
        return bool(np.isfinite(self.scores[:, self.columns.field_error]).any())

    @property
    def dice(self) -> np.ndarray:
        """`[n, class]`."""
        return self.scores[:, self.columns.dice]

    def write(self, path: Path) -> None:
        """One row a pair."""
        further = [f"tre_{self.unit}", *_FURTHER]
        names = [f"{what} {name}" for what in ("dice", f"hd95_{self.unit}") for name in self.names]
        write_table(
            path,
            ["case_id", "fixed", "moving", *further, *names, "subject_id"],
            (
                [
                    self.case_id[i],
                    self.fixed[i],
                    self.moving[i],
                    *self.scores[i, self.columns.tre :],
                    *self.scores[i, : self.columns.tre],
                    self.subject_id[i],
                ]
                for i in range(len(self.case_id))
            ),
        )

    @classmethod
    def read(cls, path: Path) -> "FieldPredictions":
        """Reads what `write` wrote, without the transforms; raises UserError for another form."""
        try:
            rows = read_records(path)
            names = tuple(n.removeprefix("dice ") for n in rows[0] if n.startswith("dice "))
            unit = "mm" if "tre_mm" in rows[0] else "vox"
            order = [f"{what} {name}" for what in ("dice", f"hd95_{unit}") for name in names]
            order += [f"tre_{unit}", *_FURTHER]
            scores = np.array([[float(r[n]) if r[n] else math.nan for n in order] for r in rows])
            return cls(
                case_id=[r["case_id"] for r in rows],
                subject_id=[r["subject_id"] for r in rows],
                fixed=[r["fixed"] for r in rows],
                moving=[r["moving"] for r in rows],
                names=names,
                unit=unit,
                present=~np.isnan(scores[:, : len(names)]),
                scores=scores,
                pairs=[],
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of registration ({e})") from None

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv`, and of each pair the warped image, mask and points, the field,
        and the affine."""
        self.write(folder / "predictions.csv")
        writers = (pair.writers() for pair in self.pairs)
        return write_cases(folder, zip(self.case_id, writers, strict=True))


def unit_of(info: DatasetInfo) -> str:
    """Of distances."""
    return "mm" if info.spacing_mm else "vox"


def tabulate(split: Split, info: DatasetInfo, predicted: Predicted) -> FieldPredictions:
    """Transforms of pairs, scored where masks and points of both images are known."""
    unit, count = unit_of(info), len(info.structures)
    at, n = ScoreColumns(count), len(split)
    scores, present = np.full((n, at.width), np.nan), np.zeros((n, count), bool)
    pairs = []
    for i in range(n):
        row = {k: v[i] for k, v in split.targets.items()}
        pair = RegisteredPair(split, i, predicted["displacement"][i], predicted["matrix"][i], info)
        scores[i, [at.folding, at.log_jacobian_sd]] = metrics.score_jacobian(
            pair.transform.jacobian_determinant()
        )
        if count and has_masks(row):
            fixed = split.on_demand["fixed_reference"](i)
            voxel = row["fixed_file_spacing"] if unit == "mm" else np.ones(fixed.ndim)
            overlaps = metrics.score_masks(pair.warp_mask(), fixed, classes=count, spacing=voxel)
            present[i] = np.isin(np.arange(1, count + 1), fixed)
            scores[i, at.dice], scores[i, at.hd95] = overlaps.T
        scores[i, [at.tre, at.field_error]] = _errors(pair, unit)
        if not (count or info.landmarks or info.known_places):
            scores[i, at.correlation] = correlate(pair.show_fixed(), pair.warp_image())
        pairs.append(pair)
    return FieldPredictions(
        list(split.case_id),
        list(split.subject_id),
        [facts.get("fixed", "") for facts in split.metadata],
        [facts.get("moving", "") for facts in split.metadata],
        info.structures,
        unit,
        present,
        scores,
        pairs,
    )


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two images, NaN where one of them is flat."""
    if a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def has_masks(row: dict[str, Any]) -> bool:
    """Whether both images of a pair have a mask that shows something."""
    return all(row.get(f"{side}_voxels", np.zeros(1)).any() for side in ("fixed", "moving"))


def _errors(pair: RegisteredPair, unit: str) -> tuple[float, float]:
    """Mean distances of points, and of known places in voxels; NaN without any."""
    points, places = (pair.misplace_mm(what) for what in ("points", "places"))
    to_voxel = np.linalg.inv(pair.column("moving_file_world"))[:-1, :-1].T
    points = points @ to_voxel if unit == "vox" else points
    return _mean_length(points), _mean_length(places @ to_voxel)


def _mean_length(vectors: np.ndarray) -> float:
    return float(nan_mean(np.sqrt((vectors**2).sum(1))))

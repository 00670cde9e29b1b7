"""What a run with landmarks leaves behind: points in pixels and in mm, and their errors."""

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data import geometry, slicer
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions
from medjax.evaluation.stats import conformal_radius, nan_mean
from medjax.files import Names, read_records, write_table
from medjax.typing import Json


@dataclasses.dataclass(frozen=True)
class LandmarkPredictions(Predictions):
    """Found and true points of n cases; NaN where there is none.

    Attributes:
      case_id, subject_id: `[n]`.
      names: of the landmarks.
      points_px, true_px: `[n, landmark, ndim]`, x, y[, z] in pixels of the file.
      points_mm, true_mm: the same in the world (RAS of a volume).
      confidence: `[n, landmark]`.
    """

    case_id: list[str]
    subject_id: list[str]
    names: tuple[str, ...]
    points_px: np.ndarray
    true_px: np.ndarray
    points_mm: np.ndarray
    true_mm: np.ndarray
    confidence: np.ndarray

    @property
    def error_mm(self) -> np.ndarray:
        """The distance of each point: `[n, landmark]`."""
        return np.sqrt(((self.points_mm - self.true_mm) ** 2).sum(-1))

    @property
    def present(self) -> np.ndarray:
        """Whether the reference has the point: `[n, landmark]`."""
        return ~np.isnan(self.true_mm).any(-1)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.error_mm

    def at_worst(self, split: Split) -> "LandmarkPredictions":
        return dataclasses.replace(
            self, points_mm=found_at_worst(self.points_mm, self.true_mm, split)
        )

    def only(self, index: Sequence[int]) -> "LandmarkPredictions":
        """The cases at `index`."""
        fields: Json = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["names"]
        rows: Json = {
            k: v[list(index)] if isinstance(v, np.ndarray) else [v[i] for i in index]
            for k, v in fields.items()
        }
        return dataclasses.replace(self, **rows)

    def without(self, absent: np.ndarray) -> "LandmarkPredictions":
        """With no point found where `absent` `[n, landmark]`."""
        gone = absent[..., None]
        return dataclasses.replace(
            self,
            points_px=np.where(gone, np.nan, self.points_px),
            points_mm=np.where(gone, np.nan, self.points_mm),
        )

    def select_landmark(self, index: int) -> "LandmarkPredictions":
        """Landmark number `index` alone."""
        part = slice(index, index + 1)
        return dataclasses.replace(
            self,
            names=self.names[part],
            confidence=self.confidence[:, part],
            **{
                k: getattr(self, k)[:, part]
                for k in ("points_px", "true_px", "points_mm", "true_mm")
            },
        )

    def write(self, path: Path) -> None:
        """One row a case and landmark; empty where there is no point."""
        axes = "xyz"[: self.points_px.shape[-1]]
        columns = {
            "pred_{}": self.points_px,
            "true_{}": self.true_px,
            "pred_{}_mm": self.points_mm,
            "true_{}_mm": self.true_mm,
        }
        error = self.error_mm
        header = [
            "case_id",
            "landmark",
            *(k.format(a) for k in columns for a in axes),
            "error_mm",
            "confidence",
            "subject_id",
        ]
        write_table(
            path,
            header,
            (
                [
                    self.case_id[i],
                    self.names[j],
                    *(v for k in columns.values() for v in k[i, j]),
                    error[i, j],
                    self.confidence[i, j],
                    self.subject_id[i],
                ]
                for i, j in np.ndindex(error.shape)
            ),
        )

    @classmethod
    def read(cls, path: Path) -> "LandmarkPredictions":
        """Reads what `write` wrote; raises UserError if the file is not of that form."""
        try:
            rows = read_records(path)
            cases = list(dict.fromkeys(r["case_id"] for r in rows))
            names = tuple(dict.fromkeys(r["landmark"] for r in rows))
            if not rows or [(r["case_id"], r["landmark"]) for r in rows] != [
                (c, n) for c in cases for n in names
            ]:
                raise ValueError("not one row a case and landmark")
            axes = [a for a in "xyz" if f"pred_{a}" in rows[0]]

            def column(name: str) -> np.ndarray:
                values = [float(r[name]) if r[name] else math.nan for r in rows]
                return np.array(values).reshape(len(cases), len(names))

            def points(form: str) -> np.ndarray:
                return np.stack([column(form.format(a)) for a in axes], -1)

            subjects = [rows[i]["subject_id"] for i in range(0, len(rows), len(names))]
            return cls(
                cases,
                subjects,
                names,
                points("pred_{}"),
                points("true_{}"),
                points("pred_{}_mm"),
                points("true_{}_mm"),
                column("confidence"),
            )
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of landmarks ({e})") from None

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv`, and of volumes a list a case for 3D Slicer."""
        self.write(folder / "predictions.csv")
        return self.write_lists(folder / "landmarks")

    def write_lists(self, folder: Path) -> tuple[str, ...]:
        """Of volumes one `.mrk.json` a case, in LPS: what 3D Slicer opens over the volume; the name
        of the folder where there is one."""
        if self.points_px.shape[-1] != 3:
            return ()
        folder.mkdir(exist_ok=True)
        names = Names()
        for case, points in zip(self.case_id, self.points_mm, strict=True):
            name = names.name_of(case)
            named = dict(zip(self.names, geometry.ras(points, "LPS"), strict=True))
            slicer.write_json(folder / f"{name}.mrk.json", named)
        return (f"{folder.name}/",)


def reference(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The true points `[n, landmark, ndim]`, in pixels of the file and in mm of the world.

    Those of the file itself: a point that the prepared image does not show is still there.
    """
    if "true_mm" in split.targets:
        return split["true_file"], split["true_mm"]
    return tuple(
        geometry.apply_each(split[k], split["landmarks"])
        for k in (  # type: ignore
            "to_file",
            "to_world",
        )
    )


def found_at_worst(points_mm: np.ndarray, true_mm: np.ndarray, split: Split) -> np.ndarray:
    """Found points `[n, ..., ndim]`, those that are missing where the image is farthest from the
    reference, `true_mm`, whose shape is the same up to axes of length 1."""
    shape = split.image_shape[:-1]
    corner = np.stack(
        [
            geometry.farthest_corner(affine, shape, true)
            for affine, true in zip(split["to_world"], true_mm, strict=True)
        ]
    )
    return np.where(np.isnan(points_mm), corner, points_mm)


def from_voxels(
    split: Split, names: Sequence[str], points: np.ndarray, confidence: np.ndarray
) -> LandmarkPredictions:
    """Predictions of points `[n, landmark, ndim]` in voxels of the prepared images."""
    points, confidence = points.astype(float), confidence.astype(float)
    true, true_mm = reference(split)
    return LandmarkPredictions(
        split.case_id,
        split.subject_id,
        tuple(names),
        geometry.apply_each(split["to_file"], points),
        true,
        geometry.apply_each(split["to_world"], points),
        true_mm,
        confidence,
    )


def turned(
    predictions: LandmarkPredictions, unordered: Sequence[tuple[int, int]]
) -> LandmarkPredictions:
    """The same with the points of each pair in the order that is nearer to the reference.

    For scoring pairs that have no order of their own, as the ends of an axis.
    """
    order = np.tile(np.arange(len(predictions.names)), (len(predictions.case_id), 1))
    for a, b in unordered:
        straight, crossed = (
            np.linalg.norm(predictions.points_mm[:, a] - predictions.true_mm[:, i], axis=-1)
            + np.linalg.norm(predictions.points_mm[:, b] - predictions.true_mm[:, j], axis=-1)
            for i, j in ((a, b), (b, a))
        )
        swap = crossed < straight
        order[swap, a], order[swap, b] = b, a
    return reordered(predictions, order)


def reordered(predictions: LandmarkPredictions, order: np.ndarray) -> LandmarkPredictions:
    """With the found points of each case in another order, `[n, landmark]`."""

    def take(values: np.ndarray) -> np.ndarray:
        index = order.reshape(*order.shape, *[1] * (values.ndim - 2))
        return np.take_along_axis(values, index, 1)

    return dataclasses.replace(
        predictions,
        points_px=take(predictions.points_px),
        points_mm=take(predictions.points_mm),
        confidence=take(predictions.confidence),
    )


def conformal(
    tuned: LandmarkPredictions, predictions: LandmarkPredictions, *, level: float
) -> Json:
    """A radius a landmark from the validation split, and how many points of the report it holds.

    A point that was not found lies in no radius. Where the report itself is on validation there is
    no coverage: the radius is chosen so that it holds its share there, whatever the network does.
    """
    same = tuned is predictions
    radius = np.array(
        [
            conformal_radius(column, level=level, subjects=tuned.subject_id)
            for column in _far(tuned).T
        ]
    )
    error = _far(predictions)
    unknown = np.isnan(error) | same | ~np.isfinite(radius)
    inside = np.where(unknown, np.nan, (error <= radius) & np.isfinite(error))
    return {
        "level": level,
        "coverage": float(nan_mean(inside)),
        "points": int((~np.isnan(inside)).sum()),
        "calibrated_on": f"validation, {len(set(tuned.subject_id))} subjects; it also chose the "
        "checkpoint, which makes radii a little too small",
        "judged": "not: the report is on validation too" if same else "on the split of the report",
        "landmarks": {
            name: {
                "conformal_radius_mm": float(radius[j]),
                "coverage": float(nan_mean(inside[:, j])),
            }
            for j, name in enumerate(predictions.names)
        },
    }


def _far(predictions: LandmarkPredictions) -> np.ndarray:
    """The error of each point: infinite where it was not found, NaN where it is missing."""
    error = np.where(np.isnan(predictions.error_mm), np.inf, predictions.error_mm)
    return np.where(predictions.present, error, np.nan)


def rater_error(split: Split) -> dict[str, float] | None:
    """The distance between two raters, where the set has them: its mean over points, mm."""
    rows = [m["rater_error_mm"].split() for m in split.metadata if "rater_error_mm" in m]
    return {"error_mm": float(np.array(rows, float).mean())} if rows else None

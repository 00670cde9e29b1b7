"""What a run that registers leaves behind: a transform a pair, and its scores."""

import csv
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from medjax.data import geometry, nifti
from medjax.data.dataset import Split
from medjax.data.dense_transform import DenseTransform, from_voxels
from medjax.data.info import DatasetInfo
from medjax.data.pairing import offset_of
from medjax.errors import UserError
from medjax.evaluation.predictions import Predictions
from medjax.files import read_records, write_cases, write_table
from medjax.ops import field
from medjax.outputs.base import Predicted
from medjax.outputs.fields import metrics
from medjax.outputs.fields.metrics import ScoreColumns

_FURTHER = ("tre", "folding", "log_jacobian_sd", "correlation")


@dataclasses.dataclass(frozen=True)
class FieldPredictions(Predictions):
    """Transforms of n pairs, beside what is known of them.

    Attributes:
      case_id, subject_id, fixed, moving: `[n]`; the subject is that of the fixed image.
      names: of the structures.
      unit: of distances, `mm`, or `vox` where the size of voxels is not known.
      present: `[n, class]`, whether the fixed image has the structure.
      scores: `[n, k]`, with the columns that `metrics.ScoreColumns` names.
      has_targets: whether both images have points.
      transforms: `[n]`; empty where they were read from a table.
      writers: `[n]`, what writes the files of a pair, by folder and suffix.
    """

    case_id: list[str]
    subject_id: list[str]
    fixed: list[str]
    moving: list[str]
    names: tuple[str, ...]
    unit: str
    present: np.ndarray
    scores: np.ndarray
    has_targets: bool
    transforms: list[DenseTransform]
    writers: list[dict[tuple[str, str], Callable[[Path], None]]]

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.scores

    @property
    def columns(self) -> ScoreColumns:
        return ScoreColumns(len(self.names))

    @property
    def dice(self) -> np.ndarray:
        """`[n, class]`."""
        return self.scores[:, self.columns.dice]

    def write(self, path: Path) -> None:
        """One row a pair."""
        further = [f"tre_{self.unit}", *_FURTHER[1:]]
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
            order += [f"tre_{unit}", *_FURTHER[1:]]
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
                has_targets=bool(np.isfinite(scores[:, 2 * len(names)]).any()),
                transforms=[],
                writers=[],
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of registration ({e})") from None

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv`, and of each pair the warped image and mask, the field, and the
        affine."""
        self.write(folder / "predictions.csv")
        return write_cases(folder, zip(self.case_id, self.writers, strict=True))


def unit_of(info: DatasetInfo) -> str:
    """Of distances."""
    return "mm" if info.spacing_mm else "vox"


def tabulate(split: Split, info: DatasetInfo, predicted: Predicted) -> FieldPredictions:
    """Transforms of pairs, scored where masks and points of both images are known."""
    unit, count = unit_of(info), len(info.structures)
    at, n = ScoreColumns(count), len(split)
    scores, present = np.full((n, at.width), np.nan), np.zeros((n, count), bool)
    transforms, writers = [], []
    for i in range(n):
        row = {k: v[i] for k, v in split.targets.items()}
        transform = make_transform(predicted["displacement"][i], predicted["matrix"][i], row, split)
        scores[i, [at.folding, at.log_jacobian_sd]] = metrics.score_jacobian(
            transform.jacobian_determinant()
        )
        files = PairFiles(split, i, transform, info.structure_values)
        if count and has_masks(row):
            fixed = split.on_demand["fixed_reference"](i)
            voxel = row["fixed_file_spacing"] if unit == "mm" else np.ones(fixed.ndim)
            overlaps = metrics.score_masks(files.warp_mask(), fixed, classes=count, spacing=voxel)
            present[i] = np.isin(np.arange(1, count + 1), fixed)
            scores[i, at.dice], scores[i, at.hd95] = overlaps.T
        scores[i, at.tre] = _point_error(transform, row, unit)
        if not (count or info.landmarks):
            scores[i, at.correlation] = correlate(files.show_fixed(), files.warp_image())
        transforms.append(transform)
        writers.append(files.writers())
    return FieldPredictions(
        list(split.case_id),
        list(split.subject_id),
        [facts.get("fixed", "") for facts in split.metadata],
        [facts.get("moving", "") for facts in split.metadata],
        info.structures,
        unit,
        present,
        scores,
        "fixed_points_vox" in split.targets,
        transforms,
        writers,
    )


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """The correlation of two images, NaN where one of them is flat."""
    if a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def has_masks(row: dict[str, Any]) -> bool:
    """Whether both images of a pair have a mask that shows something."""
    return all(row.get(f"{side}_voxels", np.zeros(1)).any() for side in ("fixed", "moving"))


def make_transform(
    displacement: np.ndarray, matrix: np.ndarray, row: dict[str, Any], split: Split
) -> DenseTransform:
    """The transform of two files, of what a network or an optimisation has found.

    Args:
      displacement: `[*half, ndim]`, on a grid of half of the padded sides, in its voxels.
      matrix: `[ndim, ndim + 1]`, as of `tasks.registration.task.make`.
      row: the columns of the pair.
    """
    space = split.image_shape[:-1]
    doubled = [2 * n for n in displacement.shape[:-1]]
    full = np.asarray(field.resize(jnp.asarray(displacement), space=doubled))[
        tuple(slice(n) for n in space)
    ]
    to_index = {
        side: row[f"{side}_to_index"]
        @ geometry.scaling(np.ones(len(space)), -offset_of(row[f"{side}_size"], space))
        for side in ("fixed", "moving")
    }
    return from_voxels(
        full,
        matrix.astype(np.float64),
        fixed_world=row["fixed_file_world"],
        fixed_to_index=to_index["fixed"],
        moving_world=row["moving_file_world"],
        moving_to_index=to_index["moving"],
        space=tuple(map(int, row["fixed_file_shape"])),
    )


def _point_error(transform: DenseTransform, row: dict[str, Any], unit: str) -> float:
    """The mean distance of points, NaN without any."""
    if "fixed_points_vox" not in row:
        return math.nan
    fixed, moving = (
        geometry.apply(
            row[f"{side}_file_world"] @ row[f"{side}_to_index"], row[f"{side}_points_vox"]
        )
        for side in ("fixed", "moving")
    )
    apart = transform.move_points(fixed) - moving
    if unit == "vox":
        apart = apart @ np.linalg.inv(row["moving_file_world"])[:-1, :-1].T
    return float(np.nanmean(np.linalg.norm(apart, axis=1)))


@dataclasses.dataclass(frozen=True)
class PairFiles:
    """What is written of one pair, on the grid of the fixed file."""

    split: Split
    index: int
    transform: DenseTransform
    structure_values: tuple[int, ...] = ()

    def column(self, name: str) -> Any:
        """Of the pair."""
        return self.split[name][self.index]

    def warp_image(self) -> np.ndarray:
        """The prepared moving image, in its own intensities."""
        image, to_index = self.values("moving")
        return self.transform.warp_image(image, self.column("moving_file_world") @ to_index)

    def values(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """A prepared image `[*space]` of the pair, and the affine from its voxels to indices of its
        file."""
        name, on_demand = f"{side}_values", self.split.on_demand
        padded = on_demand[name](self.index) if name in on_demand else self.column(name)
        size = self.column(f"{side}_size")
        begin = offset_of(size, padded.shape)
        inside = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
        return padded[inside], self.column(f"{side}_to_index")

    def show(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The fixed image, and the moving one before and after, on the grid of the fixed file."""
        space = self.transform.space
        row = {name: values[self.index] for name, values in self.split.targets.items()}
        still = np.zeros((*(-(-n // 2) for n in self.split.image_shape[:-1]), len(space)))
        before = dataclasses.replace(
            self, transform=make_transform(still, row["initial"], row, self.split)
        )
        return self.show_fixed(), before.warp_image(), self.warp_image()

    def show_fixed(self) -> np.ndarray:
        """The prepared fixed image on the grid of its file."""
        image, to_index = self.values("fixed")
        back = np.linalg.inv(to_index)
        return geometry.interpolate(image.astype(np.float32), back, shape=self.transform.space)

    def warp_mask(self) -> np.ndarray:
        """The mask of the moving file: structure numbers."""
        mask = self.split.on_demand["moving_reference"](self.index)
        return self.transform.warp_mask(mask, self.column("moving_file_world"))

    def writers(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """What writes each file, by folder and suffix."""
        end = ".nii.gz" if len(self.transform.space) == 3 else ".png"
        out: dict[tuple[str, str], Callable[[Path], None]] = {
            ("fields", ".nii.gz"): self.transform.write,
            ("affines", ".tfm"): self.transform.write_affine,
            ("warped", end): self._write_image,
        }
        if self.structure_values and "moving_reference" in self.split.on_demand:
            out["warped_masks", end] = self._write_mask
        return out

    def _write_image(self, path: Path) -> None:
        self._write(path, self.warp_image())

    def _write_mask(self, path: Path) -> None:
        mask = self.warp_mask()
        self._write(path, np.array([0, *self.structure_values], np.uint16)[mask])

    def _write(self, path: Path, values: np.ndarray) -> None:
        if values.ndim == 3:
            known = bool(self.column("fixed_oriented"))
            world = self.column("fixed_file_world") if known else None
            nifti.write(path, values, world, kind=values.dtype.type)
            return
        from PIL import Image

        whole_numbers = np.clip(np.rint(values.astype(np.float64)), 0, 65535)
        is_small = values.dtype.kind in "iu" and whole_numbers.max(initial=0) < 256
        Image.fromarray(whole_numbers.astype(np.uint8 if is_small else np.uint16)).save(path)

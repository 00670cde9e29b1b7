"""What a run with masks leaves behind: masks on the grids of the files, and their scores."""

import csv
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medjax.data import volumes
from medjax.data.dataset import Split
from medjax.data.file_grid import FileGrid
from medjax.data.info import DatasetInfo
from medjax.data.masks.instances import classes_of
from medjax.errors import UserError
from medjax.evaluation.metrics import ratio
from medjax.evaluation.predictions import Predictions, conformal_bound
from medjax.files import read_records, write_cases, write_table
from medjax.outputs.base import Predicted
from medjax.outputs.masks import ellipses, instances, metrics

TOLERANCE = 1.0  # of surface Dice, mm or voxels
_COLUMNS = ("dice", "iou", "hd95_{}", "assd_{}", "surface_dice", "volume_error")
_SIDES = ("predicted", "reference")
_SIZES = tuple(f"size_{side}" for side in _SIDES)


@dataclasses.dataclass(frozen=True)
class MaskPredictions(Predictions):
    """Masks of n cases, beside their reference.

    Attributes:
      case_id, subject_id: `[n]`.
      names: of the structures; structure_values: what stands for each in a file.
      unit: of distances, `mm`, or `vox` where the size of voxels is not known.
      present: `[n, class]`, whether the reference has the structure.
      scores: `[n, class, measure]`, as `metrics.score` gives them.
      sizes: `[n, class, 2]`, predicted and reference, ml, or voxels where their size is not known.
      masks: `[n]`, packed, on the grid of the file; empty where they were read from a table.
      shapes, grids: `[n]`, of these.
      histograms: `[n, 2, bin]`, as of `voxels.histogram`, of a single structure; else no bins.
      largest_dice: `[n, class]`, if only the largest piece of each structure were predicted.
      probabilities: `[n]`, packed, in 255ths, by structure; empty where they are not kept.
      axes: `[n, 2, 2]`, of the ellipse of a single structure, predicted and reference, the long one
        first, in the unit; NaN where none is asked for.
      things: `[n, measure]`, as `instances.score` gives them; no measures where masks number none.
    """

    case_id: list[str]
    subject_id: list[str]
    names: tuple[str, ...]
    structure_values: tuple[int, ...]
    unit: str
    present: np.ndarray
    scores: np.ndarray
    sizes: np.ndarray
    masks: list[bytes]
    shapes: list[tuple[int, ...]]
    grids: list[FileGrid]
    histograms: np.ndarray
    largest_dice: np.ndarray
    probabilities: list[list[bytes]]
    axes: np.ndarray
    things: np.ndarray

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        of_things = np.repeat(self.things[:, None], len(self.names), 1)
        return self.present, np.concatenate([self.scores, of_things], -1)

    def mask(self, index: int) -> np.ndarray:
        """The mask of a case on the grid of its file: structure numbers, 0 the background."""
        return volumes.unpack(self.masks[index], self.shapes[index])

    def select_structure(self, index: int) -> "MaskPredictions":
        """The scores of structure number `index` alone."""
        part = slice(index, index + 1)
        return dataclasses.replace(
            self,
            names=self.names[part],
            present=self.present[:, part],
            scores=self.scores[:, part],
            sizes=self.sizes[:, part],
        )

    def write(self, path: Path) -> None:
        """One row a case and structure; empty where neither mask has it."""
        columns, further = [name.format(self.unit) for name in _COLUMNS], self._further()
        names = ["case_id", "structure", *columns, *_SIZES, "in_reference", "subject_id"]
        write_table(
            path,
            [*names, *further],
            (
                [
                    self.case_id[i],
                    self.names[j],
                    *self.scores[i, j],
                    *self.sizes[i, j],
                    int(self.present[i, j]),
                    self.subject_id[i],
                    *(column[i] for column in further.values()),
                ]
                for i, j in np.ndindex(self.present.shape)
            ),
        )

    def _further(self) -> dict[str, np.ndarray]:
        """Columns that not every set has: of single things, of axes."""
        out: dict[str, np.ndarray] = {}
        if self.things.shape[1]:
            out |= dict(zip(instances.MEASURES, self.things.T, strict=True))
        if np.isfinite(self.axes).any():
            for k, side in enumerate(_SIDES):
                out[f"long_axis_{side}"] = self.axes[:, k, 0]
                out[f"short_axis_{side}"] = self.axes[:, k, 1]
        return out

    @classmethod
    def read(cls, path: Path) -> "MaskPredictions":
        """Reads what `write` wrote, without the masks; raises UserError for another form."""
        try:
            rows = read_records(path)
            cases = list(dict.fromkeys(r["case_id"] for r in rows))
            names = tuple(dict.fromkeys(r["structure"] for r in rows))
            if [(r["case_id"], r["structure"]) for r in rows] != [
                (c, n) for c in cases for n in names
            ]:
                raise ValueError("not one row a case and structure")
            unit = "mm" if "hd95_mm" in rows[0] else "vox"

            def column(name: str) -> np.ndarray:
                values = [float(r[name]) if r[name] else math.nan for r in rows]
                return np.array(values).reshape(len(cases), len(names))

            return cls(
                cases,
                [rows[i]["subject_id"] for i in range(0, len(rows), len(names))],
                names,
                (),
                unit,
                column("in_reference") > 0,
                np.stack([column(c.format(unit)) for c in _COLUMNS], -1),
                np.stack([column(c) for c in _SIZES], -1),
                [],
                [],
                [],
                _no_histograms(len(cases)),
                np.full((len(cases), len(names)), np.nan),
                [],
                np.full((len(cases), 2, 2), np.nan),
                np.stack([column(c)[:, 0] for c in instances.MEASURES], -1)
                if instances.MEASURES[0] in rows[0]
                else np.zeros((len(cases), 0)),
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of masks ({e})") from None

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv`, and each mask as a file that lies on its image."""
        self.write(folder / "predictions.csv")
        return write_cases(folder, ((c, self.writers(i)) for i, c in enumerate(self.case_id)))

    def writers(self, index: int) -> dict[tuple[str, str], Callable[[Path], None]]:
        """What writes the files of a case, by their folder and suffix."""
        shape, grid = self.shapes[index], self.grids[index]
        end = grid.suffix_for(np.dtype(np.uint8))
        values = self.structure_values
        out: dict[tuple[str, str], Callable[[Path], None]] = {
            ("masks", end): lambda path: write_mask(path, self.mask(index), values, grid)
        }
        packed = self.probabilities[index] if self.probabilities else []
        plain = [re.sub(r"[^a-zA-Z0-9]+", "_", name) for name in self.names]
        for number, (name, content) in enumerate(zip(plain, packed, strict=bool(packed)), start=1):
            own = name if plain.count(name) == 1 else f"{number}_{name}"
            out["probabilities", f"_{own}{end}"] = functools.partial(
                _write_probability, content=content, shape=shape, grid=grid
            )
        return out


def _write_probability(path: Path, content: bytes, shape: tuple[int, ...], grid: FileGrid) -> None:
    """As a volume of 0 to 1, or a picture of 0 to 255."""
    values = volumes.unpack(content, shape)
    shares = (values / 255).astype(np.float32) if len(shape) == 3 else values
    grid.write(path, shares, kind=np.uint8)


def write_mask(path: Path, mask: np.ndarray, values: Sequence[int], grid: FileGrid) -> None:
    """Writes structure numbers with the `values` that the set has for them; without any, as they
    are."""
    numbers = np.array([0, *values], np.uint16)[mask] if values else mask
    kind = np.uint8 if max(values, default=int(mask.max(initial=0))) < 256 else np.uint16
    grid.write(path, numbers.astype(kind))


def tabulate(split: Split, info: DatasetInfo, predicted: Predicted) -> MaskPredictions:
    """Packed masks `mask` `[n]` on the grids of the files, scored where a reference is known."""
    unit, count = unit_of(info), len(info.structures)
    scores = np.full((len(split), count, len(metrics.MEASURES)), np.nan)
    sizes, present = np.full((len(split), count, 2), np.nan), np.zeros((len(split), count), bool)
    largest, axes = np.full((len(split), count), np.nan), np.full((len(split), 2, 2), np.nan)
    things: list[np.ndarray] = []
    shapes = [tuple(map(int, shape)) for shape in split["file_shape"]]
    reference_of = split.on_demand.get("reference")
    for i, (packed, shape) in enumerate(zip(predicted["mask"], shapes, strict=True)):
        given, voxel = volumes.unpack(packed, shape), voxel_size(split["file_spacing"][i], unit)
        mask = classes_of(given, info)
        sizes[i, :, 0] = _sizes(mask, count, voxel, unit)
        if info.ellipses:
            axes[i, 0] = ellipses.axes(mask, spacing=voxel)
        if reference_of is None:
            continue
        numbers = reference_of(i)
        reference = classes_of(numbers, info)
        if info.instances:
            things.append(instances.score(given, numbers))
        sizes[i, :, 1] = _sizes(reference, count, voxel, unit)
        present[i] = sizes[i, :, 1] > 0
        largest[i] = _largest_dice(mask, reference, count)
        if info.ellipses:
            axes[i, 1] = ellipses.axes(reference, spacing=voxel)
        scores[i] = metrics.score(
            mask, reference, labels=range(1, count + 1), spacing=voxel, tolerance=TOLERANCE
        )
    rows = [{k: v[i] for k, v in split.targets.items()} for i in range(len(split))]
    return MaskPredictions(
        split.case_id,
        split.subject_id,
        info.structures,
        info.structure_values,
        unit,
        present,
        scores,
        sizes,
        list(predicted["mask"]),
        shapes,
        [FileGrid.of_row(row) for row in rows],
        predicted.get("histogram", _no_histograms(len(split))),
        largest,
        list(predicted.get("probability", [])),
        axes,
        np.stack(things) if things else np.zeros((len(split), 0)),
    )


def _largest_dice(mask: np.ndarray, reference: np.ndarray, count: int) -> np.ndarray:
    """Dice of each structure, if only its largest piece were predicted."""
    kept = metrics.keep_largest(mask, structures=range(1, count + 1))
    sizes = [np.bincount(m.reshape(-1), minlength=count + 1)[1:] for m in (kept, reference)]
    both = np.bincount(kept[kept == reference].reshape(-1), minlength=count + 1)[1:]
    return ratio(2.0 * both, sizes[0] + sizes[1])


def _no_histograms(count: int) -> np.ndarray:
    return np.zeros((count, 2, 0))


def unit_of(info: DatasetInfo) -> str:
    """Of distances."""
    return "mm" if info.spacing_mm else "vox"


def voxel_size(spacing_mm: np.ndarray, unit: str) -> np.ndarray:
    """The size of a voxel in the unit."""
    return spacing_mm if unit == "mm" else np.ones_like(spacing_mm)


def _sizes(mask: np.ndarray, count: int, voxel: np.ndarray, unit: str) -> np.ndarray:
    """Of each structure: ml, of an image cm^2; or voxels."""
    voxels = np.bincount(mask.reshape(-1), minlength=count + 1)[1 : count + 1]
    return voxels * np.prod(voxel) / (10.0 ** len(voxel) if unit == "mm" else 1.0)


def size_unit(predictions: MaskPredictions) -> str:
    """Of the sizes of structures."""
    if predictions.unit == "vox":
        return "vox"
    return "ml" if len(predictions.shapes[0]) == 3 else "cm2"


def conformal_size(
    tuned: MaskPredictions, predictions: MaskPredictions, structure: int, *, unit: str
) -> dict[str, float]:
    """How far the size of a structure is off in at most 10 % of further subjects, by validation,
    and the share of the cases of the report that it holds for.

    Where the report itself is on validation there is no coverage: it was chosen there.
    """

    def error(table: MaskPredictions) -> np.ndarray:
        return np.abs(table.sizes[:, structure, 0] - table.sizes[:, structure, 1])

    bound = conformal_bound(error, tuned, predictions)
    return {f"conformal_{unit}": bound.radius, "coverage": bound.coverage}

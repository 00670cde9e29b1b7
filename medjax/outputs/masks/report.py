"""What a run with masks leaves behind: masks on the grids of the files, and their scores."""

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data import nifti, volumes
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.metrics import ratio
from medjax.evaluation.predictions import Predictions
from medjax.files import Names, read_records, write_table
from medjax.outputs.base import Predicted
from medjax.outputs.masks import metrics

TOLERANCE = 1.0  # of surface Dice, mm or voxels
_COLUMNS = ("dice", "iou", "hd95_{}", "assd_{}", "surface_dice", "volume_error")
_SIZES = ("size_predicted", "size_reference")


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
      shapes: `[n]`, of these; worlds: `[n]`, from their indices to mm, None where the file does not
        tell it.
      histograms: `[n, 2, bin]`, as of `voxels.histogram`, of a single structure; else no bins.
      largest_dice: `[n, class]`, if only the largest piece of each structure were predicted.
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
    worlds: list[np.ndarray | None]
    histograms: np.ndarray
    largest_dice: np.ndarray

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        return self.present, self.scores

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
        columns = [name.format(self.unit) for name in _COLUMNS]
        write_table(
            path,
            ["case_id", "structure", *columns, *_SIZES, "in_reference", "subject_id"],
            (
                [
                    self.case_id[i],
                    self.names[j],
                    *self.scores[i, j],
                    *self.sizes[i, j],
                    int(self.present[i, j]),
                    self.subject_id[i],
                ]
                for i, j in np.ndindex(self.present.shape)
            ),
        )

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
            )
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as e:
            raise UserError(f"{path}: not a predictions.csv of masks ({e})") from None

    def write_files(self, folder: Path) -> tuple[str, ...]:
        """Writes `predictions.csv`, and each mask as a file that lies on its image."""
        self.write(folder / "predictions.csv")
        (folder / "masks").mkdir(exist_ok=True)
        name_of = Names().name_of
        for i, case in enumerate(self.case_id):
            mask = self.mask(i)
            end = suffix_of(mask)
            write_mask(
                folder / "masks" / f"{name_of(case)}{end}",
                mask,
                self.structure_values,
                self.worlds[i],
            )
        return ("masks/",)


def suffix_of(mask: np.ndarray) -> str:
    """Of the file of a mask: a picture, or a volume."""
    return ".png" if mask.ndim == 2 else ".nii.gz"


def write_mask(
    path: Path, mask: np.ndarray, values: Sequence[int], world: np.ndarray | None
) -> None:
    """Writes structure numbers with the `values` that the set has for them."""
    known = np.array([0, *values], np.uint16)
    numbers = known[mask]
    if mask.ndim == 3:
        nifti.write_mask(path, numbers, world)
        return
    from PIL import Image

    kind = np.uint8 if known.max() < 256 else np.uint16
    Image.fromarray(numbers.astype(kind)).save(path)


def tabulate(split: Split, info: DatasetInfo, predicted: Predicted) -> MaskPredictions:
    """Packed masks `mask` `[n]` on the grids of the files, scored where a reference is known."""
    unit, count = unit_of(info), len(info.structures)
    scores = np.full((len(split), count, len(metrics.MEASURES)), np.nan)
    sizes, present = np.full((len(split), count, 2), np.nan), np.zeros((len(split), count), bool)
    largest = np.full((len(split), count), np.nan)
    shapes = [tuple(map(int, shape)) for shape in split["file_shape"]]
    reference_of = split.on_demand.get("reference")
    for i, (packed, shape) in enumerate(zip(predicted["mask"], shapes, strict=True)):
        mask, voxel = volumes.unpack(packed, shape), voxel_size(split["file_spacing"][i], unit)
        sizes[i, :, 0] = _sizes(mask, count, voxel, unit)
        if reference_of is None:
            continue
        reference = reference_of(i)
        sizes[i, :, 1] = _sizes(reference, count, voxel, unit)
        present[i] = sizes[i, :, 1] > 0
        largest[i] = _largest_dice(mask, reference, count)
        scores[i] = metrics.score(
            mask, reference, labels=range(1, count + 1), spacing=voxel, tolerance=TOLERANCE
        )
    worlds = [w if o else None for w, o in zip(split["file_world"], split["oriented"], strict=True)]
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
        worlds,
        predicted.get("histogram", _no_histograms(len(split))),
        largest,
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

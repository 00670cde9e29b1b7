"""The mask of one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry, images
from medjax.data.builders.masks import Form, place
from medjax.data.dataset import Split
from medjax.data.found import tells_spacing
from medjax.outputs.base import ImageHints, ModelSpec, PreparedImage
from medjax.outputs.masks import plot
from medjax.outputs.masks.report import MaskPredictions, size_unit
from medjax.outputs.preparing import fit_channels
from medjax.typing import Json


class MaskAnswer(NamedTuple):
    """The structures in one image.

    Attributes:
      names: of the structures.
      mask: on the grid of the file, in the order of its array: structure numbers 1, 2, ...; 0 is
        background.
      sizes: of each structure, in the `unit`: ml of a volume, cm2 of a picture, or voxels where
        their size is not known.
      world: affine from indices of the mask to RAS mm, where the file tells it.
      to_index: affine from voxels of the prepared image to indices of the mask.
      writers: what writes its files, by folder and suffix.
      further: columns of `predictions.csv` beside these: how many single things there are (the mask
        numbers them then), the axes of an ellipse.
    """

    case_id: str
    names: tuple[str, ...]
    mask: np.ndarray
    sizes: np.ndarray
    unit: str
    world: np.ndarray | None
    to_index: np.ndarray
    writers: dict[tuple[str, str], Callable[[Path], None]]
    further: Json

    @property
    def classes(self) -> np.ndarray:
        """Structure numbers, where the mask numbers single things too."""
        return np.sign(self.mask) if "things" in self.further else self.mask

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        voxels = np.bincount(self.classes.reshape(-1), minlength=len(self.names) + 1)[1:]
        return [
            {
                "case_id": self.case_id,
                "structure": name,
                "voxels": int(count),
                "size": float(size),
                "unit": self.unit,
                **self.further,
            }
            for name, count, size in zip(self.names, voxels, self.sizes, strict=True)
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """The mask, on the grid of the file, and probabilities where they are kept."""
        return self.writers

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The outlines over the image, or over three slices of a volume."""
        mask = geometry.resample_labels(self.mask, self.to_index, shape=image.shape[:-1])
        shown = plot.in_few_colours(mask) if "things" in self.further else mask
        plot.over(path, image, self.names, shown, title=self.case_id)


def answers_of(predictions: MaskPredictions, split: Split) -> list[MaskAnswer]:
    """One answer a case."""
    unit = size_unit(predictions)
    return [
        MaskAnswer(
            case,
            predictions.names,
            predictions.mask(i),
            predictions.sizes[i, :, 0],
            unit,
            grid.world if (grid := predictions.grids[i]).oriented else None,
            split["to_index"][i],
            predictions.writers(i),
            _further(predictions, i),
        )
        for i, case in enumerate(predictions.case_id)
    ]


def _further(predictions: MaskPredictions, index: int) -> Json:
    """What is known of one mask beside sizes."""
    out: Json = {}
    if not predictions.structure_values:  # any number is a thing
        out["things"] = int(predictions.mask(index).max(initial=0))
    long, short = predictions.axes[index, 0]
    if np.isfinite(long):
        around = geometry.circumference(long, short)
        for name, value in (("long_axis", long), ("short_axis", short), ("circumference", around)):
            out[f"{name}_{predictions.unit}"] = float(value)
    return out


def prepare(
    raw_image: images.RawImage, predictor: Any, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> PreparedImage:
    """An image in the form of the training; raises UserError if it does not fit."""
    raw_image = fit_channels(raw_image, spec, hints, case_id=case_id)
    spacing_mm = None if tells_spacing(raw_image) else hints.spacing_mm or None
    placed = place(raw_image, form_of(spec), spacing_mm=spacing_mm, origin=case_id)
    return PreparedImage(placed.image, case_id, placed.targets)


def form_of(spec: ModelSpec) -> Form:
    """What the images of the training were brought to."""
    info, dtype = spec.info, np.dtype(spec.image_dtype)
    return Form(
        (info.spacing_mm or ()) if info.resampled else (),
        "image" if dtype == np.uint8 else "set",
        spec.window,
        "" if dtype.kind == "f" else str(dtype),
        info.longest_side,
    )

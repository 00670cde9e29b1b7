"""The mask of one image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry, images
from medjax.data.builders.masks import Form, place
from medjax.data.dataset import Split
from medjax.data.found import known_spacing
from medjax.errors import UserError
from medjax.outputs.base import NO_HINTS, ImageHints, ModelSpec, PreparedImage, raw_of_array
from medjax.outputs.masks import plot
from medjax.outputs.masks.report import MaskPredictions, size_unit
from medjax.typing import Json


class MaskAnswer(NamedTuple):
    """The structures in one image.

    Attributes:
      names: of the structures.
      mask: on the grid of the file, in the order of its array: structure numbers 1, 2, ...; 0 is
        background.
      sizes: of each structure, in the `unit`: ml of a volume, cm2 of a picture, or voxels where
        their size is not known.
      structure_values: what stands for each structure in a file.
      world: affine from indices of the mask to RAS mm, where the file tells it.
      to_index: affine from voxels of the prepared image to indices of the mask.
      writers: what writes its files, by folder and suffix.
    """

    case_id: str
    names: tuple[str, ...]
    mask: np.ndarray
    sizes: np.ndarray
    unit: str
    structure_values: tuple[int, ...]
    world: np.ndarray | None
    to_index: np.ndarray
    writers: dict[tuple[str, str], Callable[[Path], None]]

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        voxels = np.bincount(self.mask.reshape(-1), minlength=len(self.names) + 1)[1:]
        return [
            {
                "case_id": self.case_id,
                "structure": name,
                "voxels": int(count),
                "size": float(size),
                "unit": self.unit,
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
        mask = on_prepared_grid(self.mask, self.to_index, shape=image.shape[:-1])
        plot.over(path, image, self.names, mask, title=self.case_id)


def on_prepared_grid(
    mask: np.ndarray, to_index: np.ndarray, *, shape: tuple[int, ...]
) -> np.ndarray:
    """A mask of a file on the grid of its prepared image, which `to_index` leads from."""
    if geometry.is_reordering(to_index):
        return geometry.reorder(mask, np.linalg.inv(to_index), shape=shape)
    return geometry.resample_labels(mask, to_index, shape=shape)


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
            predictions.structure_values,
            predictions.worlds[i],
            split["to_index"][i],
            predictions.writers(i),
        )
        for i, case in enumerate(predictions.case_id)
    ]


def prepare(
    raw_image: images.RawImage, predictor: Any, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> PreparedImage:
    """An image in the form of the training; raises UserError if it does not fit."""
    channels = spec.image_shape[-1]
    raw_image = raw_image._replace(
        pixels=images.match_channels(
            raw_image.pixels, hints.channels or spec.channels, count=channels
        )
    )
    if raw_image.pixels.ndim != len(spec.image_shape) or raw_image.pixels.shape[-1] != channels:
        raise UserError(
            f"{case_id}: has {raw_image.pixels.ndim - 1} axes and {raw_image.pixels.shape[-1]} "
            f"channels, the images of the training had {len(spec.image_shape) - 1} and {channels}: "
            "convert it"
        )
    in_file = known_spacing(raw_image.spacing_mm) or raw_image.affine is not None
    spacing_mm = None if in_file else hints.spacing_mm or None
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
    )


def from_array(
    image: np.ndarray,
    predictor: Any,
    spec: ModelSpec,
    *,
    hints: ImageHints = NO_HINTS,
    affine: np.ndarray | None = None,
) -> PreparedImage:
    """An image `[*space, channel]`, or of one channel `[*space]`, ready.

    Args:
      affine: of a volume `[i, j, k]`: from voxels to RAS mm.
    """
    raw_image = raw_of_array(image, spec, affine)
    return prepare(raw_image, predictor, spec, case_id="image", hints=hints)

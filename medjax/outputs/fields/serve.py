"""The transform of one new pair."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import images, pairing
from medjax.data.builders.masks import place
from medjax.data.dataset import Split
from medjax.data.dense_transform import DenseTransform
from medjax.data.found import tells_spacing
from medjax.errors import UserError
from medjax.outputs.base import NO_HINTS, ImageHints, Input, ModelSpec, PreparedImage, symbols
from medjax.outputs.fields import metrics, plot
from medjax.outputs.fields.predictions import FieldPredictions
from medjax.outputs.fields.registered_pair import RegisteredPair
from medjax.outputs.masks.serve import form_of
from medjax.outputs.preparing import wrap_pixels
from medjax.typing import Json


class FieldAnswer(NamedTuple):
    """The transform of a pair; its name is that of the moving image.

    Attributes:
      pair: its images and transform, and what writes its files.
    """

    case_id: str
    pair: RegisteredPair

    @property
    def transform(self) -> DenseTransform:
        """From the fixed to the moving image, mm."""
        return self.pair.transform

    @property
    def unit(self) -> str:
        """Of lengths: voxels where the fixed file does not tell their size."""
        return "mm" if np.isfinite(self.pair.column("fixed_file_spacing")).all() else "vox"

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        folding, deviation = metrics.score_jacobian(self.transform.jacobian_determinant())
        length = np.linalg.norm(self.transform.displacement_mm, axis=-1)
        return [
            {
                "case_id": self.case_id,
                f"mean_displacement_{self.unit}": float(length.mean()),
                "folding": float(folding),
                "log_jacobian_sd": float(deviation),
            }
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """The warped image, the field, and its affine part."""
        return self.pair.writers()

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The pair before and after."""
        plot.draw_pair(path, *self.pair.show(), self.transform, title=self.case_id)


def answers_of(predictions: FieldPredictions, split: Split) -> list[FieldAnswer]:
    """One answer a pair."""
    return [FieldAnswer(*row) for row in zip(predictions.case_id, predictions.pairs, strict=True)]


def list_inputs(spec: ModelSpec) -> list[Input]:
    """The pair, and how its images lie at first."""
    *space, _ = spec.image_shape
    shape, ndim = " x ".join(map(str, space)), len(space)
    text = f"pairs of {shape} voxels, the fixed image and the moving one, uint8"
    size = "size of the voxels of the fixed image, mm or whatever unit all have"
    affine = "from voxels of the fixed image to those of the moving one, an affine"
    return [
        Input("images", "image", symbols(spec.image_shape), "uint8", text),
        Input("initial", "initial", symbols((ndim, ndim + 1)), "float32", affine),
        Input("fixed_voxel_mm", "fixed_voxel_mm", symbols((ndim,)), "float32", size),
    ]


def read(
    path: Path, predictor: Any, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> list[PreparedImage]:
    """The pair of the fixed image that `hints` name and a moving one; raises UserError if they do
    not fit."""
    fixed = hints.fixed.get(case_id)
    if fixed is None:
        raise UserError(
            "`fixed`: to which image? Name the one that all others are registered to, or `pairs`"
        )
    pair = [
        images.read(file, limit_bytes=hints.limit_bytes, series=hints.series)
        for file in (fixed, path)
    ]
    if fixed.resolve() == path.resolve():
        raise UserError(f"{case_id}: is the fixed image itself")
    return [prepare_pair(pair, spec, case_id=case_id, hints=hints)]


def from_array(
    image: np.ndarray,
    predictor: Any,
    spec: ModelSpec,
    *,
    hints: ImageHints = NO_HINTS,
    affine: np.ndarray | None = None,
) -> PreparedImage:
    """A pair `[2, *space]`, the fixed image first; `affine` is that of both."""
    if image.ndim != len(spec.image_shape) or len(image) != 2:
        raise UserError(f"a pair has the shape [2, *space], this array {list(image.shape)}")
    pair = [wrap_pixels(x[..., None], affine) for x in image]
    return prepare_pair(pair, spec, case_id="image", hints=hints)


def prepare_pair(
    pair: list[images.RawImage], spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> PreparedImage:
    """A fixed and a moving image, ready; raises UserError if they do not fit."""
    ndim, form = len(spec.image_shape) - 1, form_of(spec)._replace(scaling="set", integer_type="")
    rows, values = [], []
    for side, raw_image in zip(("the fixed image", case_id), pair, strict=True):
        if raw_image.pixels.ndim != ndim + 1:
            raise UserError(
                f"{side}: has {raw_image.pixels.ndim - 1} axes, the images of the training had "
                f"{ndim}: convert it"
            )
        if not np.isfinite(raw_image.pixels).all():
            raise UserError(f"{side}: has values that are not finite; replace them, by 0 perhaps")
        gray = raw_image._replace(pixels=images.in_channels(raw_image.pixels, "gray")[..., :1])
        known = None if tells_spacing(gray) else hints.spacing_mm or None
        placed = place(gray, form, spacing_mm=known, origin=side)
        rows.append(placed.targets)
        values.append(placed.image[..., 0])
    space = tuple(np.max([spec.image_shape[:-1], *(row["size"] for row in rows)], 0).tolist())
    find = [
        functools.partial(pairing.moments_of, *given) for given in zip(values, rows, strict=True)
    ]
    initial = pairing.initial_affine(rows, space, spec.info.initial, find)
    pairing.check_overlap(rows, initial, space, names=("the fixed image", case_id))
    targets = {"initial": initial, "fixed_voxel_mm": pairing.voxel_mm(rows[0])}
    for side, row, array in zip(("fixed", "moving"), rows, values, strict=True):
        targets |= {f"{side}_{name}": row[name] for name in pairing.GEOMETRY}
        targets[f"{side}_values"] = pairing.pad(array, space)
    shown = [pairing.pad(images.eight_bits(x, spec.window), space) for x in values]
    return PreparedImage(np.stack(shown, -1), case_id, targets)

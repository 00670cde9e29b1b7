"""Sets of images with masks from arrays in memory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medjax.data import arrays, volumes
from medjax.data.builders.base import Example
from medjax.data.builders.masks import Form, prepare
from medjax.data.dataset import Dataset
from medjax.data.found import RawImage
from medjax.data.masks.case import BACKGROUND, MaskCase, check_structures, check_values
from medjax.data.masks.instances import one_structure
from medjax.data.options import SCALINGS
from medjax.errors import UserError, unknown


def from_masks(
    images: Sequence[Any],
    masks: Sequence[Any],
    *,
    structures: Sequence[str] = (),
    instances: bool = False,
    spacing_mm: float | Sequence[float] = 0.0,
    scaling: str = "image",
    channel_axis: bool | None = None,
    case_ids: Sequence[Any] = (),
    **options: Any,
) -> Dataset:
    """As `Dataset.from_masks`; further `options` are those of `arrays.assemble`."""
    if len(images) != len(masks):
        raise UserError(f"from_masks: {len(images)} images, but {len(masks)} masks")
    if not len(images):
        raise UserError("from_masks: no images")
    if not scaling or scaling not in SCALINGS:
        raise unknown("from_masks: scaling", scaling, [s for s in SCALINGS if s])
    cases = [str(c) for c in case_ids] if len(case_ids) else arrays.number_cases(len(images))
    pixels = [arrays.with_channel(np.asarray(x)[None], channel_axis)[0][0] for x in images]
    _check_together(cases, pixels)
    spacing = arrays.check_spacing(spacing_mm, pixels[0].ndim - 1)
    names, values = one_structure(structures) if instances else _named(masks, structures)
    examples = [
        _prepare(
            case, image, np.asarray(mask), values, spacing, Form((), scaling, ()), things=instances
        )
        for case, image, mask in zip(cases, pixels, masks, strict=True)
    ]
    targets = {
        k: np.stack([np.asarray(e.targets[k]) for e in examples]) for k in examples[0].targets
    }
    made = arrays.assemble(
        [e.image for e in examples],
        targets,
        on_demand=_on_demand(examples),
        case_ids=cases,
        structures=names,
        structure_values=values,
        instances=instances,
        spacing_mm=spacing or None,
        **options,
    )
    check_structures(made.splits["train"]["voxels"], made.info)
    return made


def _check_together(cases: Sequence[str], pixels: Sequence[np.ndarray]) -> None:
    """Raises UserError for an image with other axes, channels or type of numbers than the first."""
    first = pixels[0]
    for case, image in zip(cases, pixels, strict=True):
        if (image.ndim, image.shape[-1], image.dtype) != (first.ndim, first.shape[-1], first.dtype):
            raise UserError(
                f"from_masks: image {case} has the shape {image.shape}, {image.dtype}; the first "
                f"has {first.shape}, {first.dtype}: axes, channels and type must be the same"
            )


def _named(
    masks: Sequence[Any], structures: Sequence[str]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and values: those that are given for 1, 2, ..., or the values that there are."""
    if structures:
        return tuple(structures), tuple(range(1, len(structures) + 1))
    present = np.unique(np.concatenate([np.unique(np.asarray(mask)) for mask in masks]))
    values = tuple(int(v) for v in present if v != BACKGROUND)
    if not values:
        raise UserError("from_masks: all masks are empty")
    check_values(values, where="from_masks")
    return tuple(f"structure_{v}" for v in values), values


def _prepare(
    case_id: str,
    image: np.ndarray,
    mask: np.ndarray,
    values: Sequence[int],
    spacing: tuple[float, ...],
    form: Form,
    *,
    things: bool,
) -> Example:
    axes = "yx" if image.ndim == 3 else "zyx"
    raw_image, raw_mask = (
        RawImage(x, spacing or None, axes=axes) for x in (image, mask[..., None])
    )
    origin = f"image {case_id}"
    case = MaskCase(lambda: raw_image, lambda: raw_mask, origin, case_id, "", None)
    return prepare(case, raw_image, raw_mask, values, form=form, things=things)


def _on_demand(examples: Sequence[Example]) -> dict[str, Callable[[int], np.ndarray]]:
    def reference(i: int) -> np.ndarray:
        shape = tuple(map(int, examples[i].targets["file_shape"]))
        return volumes.unpack(examples[i].kept["reference"], shape)

    return {"mask": functools.partial(_kept_mask, examples), "reference": reference}


def _kept_mask(examples: Sequence[Example], index: int) -> np.ndarray:
    return examples[index].kept["mask"]

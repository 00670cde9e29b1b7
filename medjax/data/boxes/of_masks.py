"""Boxes about what masks show: each connected piece of a structure, or each single thing."""

import functools

import numpy as np
from scipy import ndimage

from medjax.data.boxes.case import BoxCase, BoxesOfSize
from medjax.data.boxes.formats import NamedBox
from medjax.data.masks.case import MaskCase, MaskSet, numbered
from medjax.data.masks.folder import looks_like as has_masks
from medjax.data.masks.folder import mask_folder
from medjax.data.masks.instances import numbered_things
from medjax.data.masks.one_grid import check_one_grid, turned_like
from medjax.data.options import BoxOptions, MaskOptions, as_kind

__all__ = ["boxes_about", "boxes_of_masks", "has_masks"]


def boxes_of_masks(options: BoxOptions) -> tuple[list[BoxCase], list[str], str, list[str]]:
    """Cases, the names of all boxes, how subjects are known, and notes, of images with masks."""
    mask_set = mask_folder(as_kind(options, MaskOptions))
    cases = [
        BoxCase(
            case.read,
            _boxes_of(case, mask_set),
            case.origin,
            case.case_id,
            case.subject,
            case.split,
            case.spacing_mm,
            case.metadata,
            case.path,
        )
        for case in mask_set.cases
    ]
    what = "thing" if mask_set.info.instances else "connected piece"
    notes = [*mask_set.notes, f"boxes are those about each {what} of the masks"]
    return cases, list(mask_set.info.structures), mask_set.known_by, notes


def _boxes_of(case: MaskCase, mask_set: MaskSet) -> BoxesOfSize:
    """The boxes of one mask, which is read once, when they are asked for."""
    names = mask_set.info.structures

    @functools.cache
    def read() -> list[NamedBox]:
        raw_image = case.read()
        raw = turned_like(raw_image, case.read_mask())
        check_one_grid(raw_image, raw, origin=case.origin)
        pixels = raw.pixels[..., 0]
        if mask_set.info.instances:
            return boxes_about(
                numbered_things(pixels, origin=case.origin), names[0], raw_image.axes
            )
        mask, out = numbered(pixels, mask_set.values, origin=case.origin), []
        for number, name in enumerate(names, start=1):
            pieces, _ = ndimage.label(mask == number, np.ones((3,) * mask.ndim))
            out += boxes_about(pieces, name, raw_image.axes)
        return out

    return lambda size: read()


def boxes_about(things: np.ndarray, label: str, axes: str) -> list[NamedBox]:
    """The box about each number of `things` `[*space]`, in pixels from the border of the first.

    Args:
      axes: what each axis of the array is, as `yx`.
    """
    order = [axes.index(a) for a in sorted(axes)]
    return [
        NamedBox(
            label,
            tuple(float(box[k].start) for k in order),
            tuple(float(box[k].stop) for k in order),
        )
        for box in ndimage.find_objects(things)
        if box is not None
    ]

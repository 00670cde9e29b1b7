"""Masks that number single things of one structure, as nuclei, and how deep each pixel lies."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.info import DatasetInfo
from medjax.errors import UserError

DEEPEST = 254  # of a depth map; 255 is what lies outside of an image
MOST = np.iinfo(np.uint16).max  # things of an image


def one_structure(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The name of what is numbered, and no values: any number is one of it.

    Raises:
      UserError: for several names.
    """
    if len(names) > 1:
        raise UserError("`instances`: single things are of one structure; give one name")
    return tuple(names) or ("thing",), ()


def numbered_things(mask: np.ndarray, *, origin: str) -> np.ndarray:
    """A mask of a file `[*space]`, its things as 1, 2, ..., uint16; 0 stays the background.

    Raises:
      UserError: for values that are not whole or negative, or too many.
    """
    values, numbers = np.unique(mask, return_inverse=True)
    odd = values[(values < 0) | (values != np.rint(values))]
    if len(odd):
        raise UserError(
            f"{origin}: a mask of single things has whole numbers, 0 for the background and one "
            f"for each thing; this one has {odd[0]:g}"
        )
    if len(values) > MOST:
        raise UserError(f"{origin}: {len(values)} things; at most {MOST} are told apart")
    first = 0 if values[0] == 0 else 1
    return (numbers.reshape(mask.shape) + first).astype(np.uint16)


def depth_map(things: np.ndarray) -> np.ndarray:
    """How deep each pixel lies in its thing: 0 outside, 1 to `DEEPEST` where it is deepest, uint8.

    The distance to what is not the thing, another thing as well as the background, over the largest
    in the thing: things that touch are apart by low values, whatever their size.

    Args:
      things: `[*space]`, numbers of things, 0 for the background.
    """
    out = np.zeros(things.shape, np.uint8)
    for number, box in enumerate(ndimage.find_objects(things), start=1):
        if box is None:
            continue
        inside = np.pad(things[box] == number, 1)
        distance = ndimage.distance_transform_edt(inside)[(slice(1, -1),) * things.ndim]
        depth = np.maximum(np.rint(DEEPEST * distance / distance.max()), 1)
        part = out[box]
        part[distance > 0] = depth[distance > 0]
    return out


def classes_of(mask: np.ndarray, info: DatasetInfo) -> np.ndarray:
    """The structure numbers of a mask of a set: 0 and 1 where it numbers things or their depth."""
    return (mask > 0).astype(np.uint8) if info.instances else mask

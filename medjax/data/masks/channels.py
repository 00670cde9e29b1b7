"""Images of several channels: in a file each, as nnU-Net has them (NAME_0000, NAME_0001, ...), or
along a fourth axis, as in the Medical Segmentation Decathlon."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medjax.data import images
from medjax.data.found import RawImage
from medjax.errors import UserError

_NUMBER = re.compile(r"_(\d{4})$")
FIRST = "_0000"


def leave_first(files: Iterable[Path]) -> list[Path]:
    """The files without those of further channels, which are read with the first."""
    return [p for p in files if not _is_further(p)]


def _is_further(path: Path) -> bool:
    number = _NUMBER.search(images.stem(path))
    return bool(number and int(number[1])) and _sibling(path, 0).exists()


def _sibling(path: Path, channel: int) -> Path:
    stem = images.stem(path)
    return path.with_name(f"{stem[:-5]}_{channel:04d}{path.name[len(stem) :]}")


def files_of(path: Path) -> list[Path]:
    """The files of all channels of an image, the given one first."""
    if not images.stem(path).endswith(FIRST):
        return [path]
    paths = [path]
    while (further := _sibling(path, len(paths))).exists():
        paths.append(further)
    return paths


def read(path: Path, *, limit_bytes: int, series: str = "") -> RawImage:
    """An image with all its channels; `series` as of `images.read`.

    Raises:
      UserError: as of `images.read`; or if its channels differ in shape.
    """
    first, *others = (
        images.read(p, limit_bytes=limit_bytes, stacked=True, series=series) for p in files_of(path)
    )
    odd = next((o for o in others if o.pixels.shape != first.pixels.shape), None)
    if odd is not None:
        raise UserError(
            f"{path}: its channels differ in shape, {first.pixels.shape[:-1]} and "
            f"{odd.pixels.shape[:-1]}: resample them onto one grid"
        )
    return first._replace(pixels=np.concatenate([first.pixels, *(o.pixels for o in others)], -1))

"""The directories of a TIFF file, read to their end: Pillow passes over what is missing.

TIFF revision 6.0 (Adobe 1992) and BigTIFF.
"""

import io
import math
import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.errors import UserError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_REDUCED = 254
_SIZES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}  # the types of whole numbers
_OLD_JPEG = 6  # keeps its pixels elsewhere
_MOST_ENTRIES = 4096  # of a directory
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # sample formats


class Page(NamedTuple):
    """What a directory says of its picture.

    Attributes:
      bits: of a value; `sample`: its format, one of UNSIGNED, SIGNED, FLOAT, or another.
      photometric: 0 white is zero, 1 black is zero, 2 RGB, 3 palette, ...
      alpha: a value more tells how opaque a pixel is; `others`: how many values more tell else.
      reduced: it is a small version of another page.
      big_endian, compressed: how its values are stored.
    """

    bits: int
    sample: int
    photometric: int
    alpha: bool
    others: int
    reduced: bool
    big_endian: bool
    compressed: bool

    @property
    def kind(self) -> str:
        name = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float"}.get(self.sample, "odd")
        return f"{self.bits}-bit {name}"


def pages(path: Path) -> list[Page]:
    """Every picture of the file, in order.

    Raises:
      UserError: if a directory, or a part of a picture, lies beyond the end of the file or is
        missing.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        order = {b"II": "<", b"MM": ">"}.get(file.read(2))
        if order is None:
            raise UserError(f"{path}: no TIFF file; its first bytes are not those of one")
        (version,) = struct.unpack(f"{order}H", file.read(2))
        big = version == 43
        (place,) = struct.unpack(f"{order}4xQ" if big else f"{order}I", file.read(12 if big else 4))
        pages: list[Page] = []
        offsets_seen = set[int]()
        while place:
            if place in offsets_seen or place >= size:
                raise UserError(
                    f"{path}: is truncated or damaged: its directory {len(pages) + 1} "
                    "lies beyond its end"
                )
            offsets_seen.add(place)
            tags, place = _directory(path, file, place, order, big)
            _check_parts(path, tags, size, number=len(pages) + 1)
            pages.append(_page(tags, order))
    return pages


def _directory(
    path: Path, file: io.BufferedReader, place: int, order: str, big: bool
) -> tuple[dict[int, np.ndarray], int]:
    """The tags that are whole numbers, and where the next directory is."""
    file.seek(place)
    try:
        (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
        if count > _MOST_ENTRIES:
            raise UserError(f"{path}: damaged: a directory of {count} entries")
        width = 20 if big else 12
        content = file.read(count * width)
        (following,) = struct.unpack(order + ("Q" if big else "I"), file.read(8 if big else 4))
        entries = [
            struct.unpack(
                order + ("HHQ8s" if big else "HHI4s"), content[i * width : (i + 1) * width]
            )
            for i in range(count)
        ]
    except struct.error:
        raise UserError(f"{path}: is truncated: a directory ends too early") from None
    return {
        tag: _values(path, file, kind, n, value, order)
        for tag, kind, n, value in entries
        if kind in _SIZES
    }, following


def _values(
    path: Path, file: io.BufferedReader, kind: int, count: int, value: bytes, order: str
) -> np.ndarray:
    dtype = np.dtype(order + _SIZES[kind])
    needed = count * dtype.itemsize
    if needed > len(value):
        place = int.from_bytes(value, "little" if order == "<" else "big")
        if place + needed > os.fstat(file.fileno()).st_size:
            raise UserError(f"{path}: is truncated or damaged: a table lies beyond its end")
        file.seek(place)
        value = file.read(needed)
    return np.frombuffer(value[:needed], dtype).astype(np.int64)


def _single_value(tags: dict[int, np.ndarray], tag: int, default: int) -> int:
    values = tags.get(tag)
    return default if values is None or not len(values) else int(values[0])


def _check_parts(path: Path, tags: dict[int, np.ndarray], size: int, *, number: int) -> None:
    """Raises UserError unless every strip or tile of a page is there."""
    if _single_value(tags, _COMPRESSION, 1) == _OLD_JPEG:
        return
    width, height = _single_value(tags, _WIDTH, 0), _single_value(tags, _HEIGHT, 0)
    if _TILES in tags:
        offsets, counts = tags[_TILES], tags.get(_TILE_BYTES)
        wanted = math.ceil(width / max(_single_value(tags, _TILE_WIDTH, width), 1)) * math.ceil(
            height / max(_single_value(tags, _TILE_HEIGHT, height), 1)
        )
    else:
        offsets, counts = tags.get(_STRIPS, np.zeros(0, np.int64)), tags.get(_STRIP_BYTES)
        wanted = math.ceil(height / max(min(_single_value(tags, _ROWS, height), height), 1))
    wanted *= _single_value(tags, _SAMPLES, 1) if _single_value(tags, _PLANAR, 1) == 2 else 1
    is_complete = len(offsets) == wanted > 0 and (offsets < size).all()
    if is_complete and counts is not None:
        is_complete = (
            len(counts) == wanted and (counts > 0).all() and (offsets + counts <= size).all()
        )
    if not is_complete:
        raise UserError(f"{path}: is truncated or damaged: parts of its page {number} are missing")


def _page(tags: dict[int, np.ndarray], order: str) -> Page:
    extra = tags.get(_EXTRA, np.zeros(0, np.int64))
    alpha = len(extra) > 0 and int(extra[0]) in (1, 2)
    photometric = _single_value(tags, _PHOTOMETRIC, 1)
    own = {2: 3, 5: 4, 6: 3, 8: 3}.get(photometric, 1)  # values of a pixel
    return Page(
        int(tags.get(_BITS, np.ones(1)).max()),
        _single_value(tags, _FORMAT, UNSIGNED),
        photometric,
        alpha,
        _single_value(tags, _SAMPLES, 1) - own - alpha,
        bool(_single_value(tags, _REDUCED, 0) & 1),
        order == ">",
        _single_value(tags, _COMPRESSION, 1) != 1,
    )

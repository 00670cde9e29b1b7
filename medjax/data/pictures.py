"""Pictures (PNG, JPEG, TIFF, BMP) as their files define the values: by tags, never by content."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.found import Found, check_bytes
from medjax.errors import UserError

_REDUCED, _BITS, _PHOTOMETRIC, _FORMAT = 254, 258, 262, 339  # tags of TIFF
_SIGNED, _FLOAT = 2, 3
_VALUES = {"1": 1, "L": 1, "P": 3, "RGB": 3, "RGBA": 4, "LA": 2, "I": 1, "F": 1}  # of a pixel


class Kind(NamedTuple):
    """How a page stores its values.

    Attributes:
      mode, raw: what Pillow makes of it, and from what.
      bits, sample: of a value, and its TIFF sample format (1 unsigned, 2 signed, 3 float).
      white_is_zero: small values are bright.
    """

    size: tuple[int, int]
    mode: str
    raw: str
    bits: int = 8
    sample: int = 1
    white_is_zero: bool = False


def read(path: Path, *, limit_bytes: int) -> Found:
    """The pixels, upright as a viewer shows them (EXIF and TIFF orientation applied).

    8-bit and 16-bit unsigned values keep their type, all other gray becomes float32. A TIFF of
    several pages is a volume; of another format with several pictures the first is taken.

    Raises:
      UserError: for values that would be altered (colour of 16 bits, transparency, ...), a damaged
        PNG, and what is larger than `limit_bytes` once it is decoded.
    """
    from PIL import Image

    # By a file and not by its name: Pillow maps a named TIFF into memory as if it were not turned.
    with _any_size(), path.open("rb") as file, Image.open(file) as picture:
        tiff = picture.format == "TIFF"
        kinds = _pages(picture, path) if tiff else {0: _kind(picture)}
        check_bytes(path, sum(_bytes(k) for k in kinds.values()), limit_bytes=limit_bytes)
        if picture.format == "PNG":
            with Image.open(path) as whole:
                whole.verify()  # every check sum; decoding alone does not look at all of them
        pages = []
        for number, kind in kinds.items():
            if tiff:
                picture.seek(number)
            pages.append(_page(picture, kind, path))
    return Found(pages[0]) if len(pages) == 1 else Found(np.stack(pages), axes="zyx")


@contextlib.contextmanager
def _any_size() -> Iterator[None]:
    """Our own bound is told beforehand; Pillow's would be a warning, or another message."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _kind(picture: Any) -> Kind:
    tile = picture.tile[0].args if picture.tile else ()
    raw = tile if isinstance(tile, str) else str(tile[0]) if tile else ""
    return Kind(picture.size, picture.mode, raw)


def _pages(picture: Any, path: Path) -> dict[int, Kind]:
    """The pages of a TIFF by number, without the previews among them."""
    found = {}
    for number in range(picture.n_frames):
        picture.seek(number)
        tags = picture.tag_v2
        if number and tags.get(_REDUCED, 0) & 1:
            continue
        found[number] = _kind(picture)._replace(
            bits=max(np.atleast_1d(tags.get(_BITS, 1))),
            sample=int(np.atleast_1d(tags.get(_FORMAT, 1))[0]),
            white_is_zero=tags.get(_PHOTOMETRIC, 0) == 0)
    odd = next((n for n, kind in found.items() if kind != found[0]), None)
    if odd is not None:
        raise UserError(f"{path}: page {odd + 1} differs from the first in size or type "
                        f"({_told(found[odd])}, {_told(found[0])}); keep one picture, or pages of "
                        "one kind, which are a volume")
    return found


def _told(kind: Kind) -> str:
    return f"{kind.size[0]} x {kind.size[1]} {kind.mode}"


def _bytes(kind: Kind) -> int:
    return kind.size[0] * kind.size[1] * _VALUES.get(kind.mode, 4) * max(kind.bits // 8, 1)


def _page(picture: Any, kind: Kind, path: Path) -> np.ndarray:
    """`[height, width, channel]`."""
    from PIL import ImageOps

    if kind.mode not in _VALUES and not kind.mode.startswith("I;16"):
        raise _altered(path, f"colours are {kind.mode}", "convert it to RGB")
    if kind.mode in ("RGB", "RGBA", "LA") and "16" in kind.raw:
        raise _altered(path, "colour or transparency of 16 bits", "convert it to 8 bits, or to "
                       "gray of 16 bits")
    if picture.format != "TIFF":  # Pillow turns those itself
        picture = ImageOps.exif_transpose(picture)
    if kind.mode in ("1", "I", "F") or kind.mode.startswith("I;16") or (
            kind.mode == "L" and kind.sample == _SIGNED):
        return _gray(picture, kind, path)[..., None]
    if picture.has_transparency_data:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
        if (alpha < 255).any():
            raise _altered(path, "has transparent pixels", "flatten it onto a background")
    if kind.mode in ("L", "LA"):
        return np.asarray(picture.convert("L"))[..., None]
    return np.asarray(picture.convert("RGB"))


def _gray(picture: Any, kind: Kind, path: Path) -> np.ndarray:
    """Gray of other than 8 unsigned bits: `[height, width]`."""
    if kind.mode == "1":
        return np.asarray(picture.convert("L"))
    values = np.asarray(picture)
    signed = kind.sample in (_SIGNED, _FLOAT) or kind.mode == "F"
    if kind.white_is_zero and (signed or kind.bits > 16):
        raise _altered(path, "is WhiteIsZero of signed, float or 32-bit values",
                       "save it as BlackIsZero")
    if kind.mode.startswith("I;16") or (kind.mode == "I" and picture.format == "PNG"):
        sixteen = values.astype(np.uint16)
        return (2**kind.bits - 1 - sixteen).astype(np.uint16) if kind.white_is_zero else sixteen
    if kind.mode == "L":
        return values.view(np.int8).astype(np.float32)
    if kind.mode == "I" and not signed and kind.bits == 32:
        values = values.view(np.uint32)
    return exact_float32(values, path)


def exact_float32(values: np.ndarray, path: Path) -> np.ndarray:
    """The values as float32; raises UserError where whole numbers are too large for it."""
    if values.dtype.kind in "iu" and values.dtype.itemsize > 2 and values.size and (
            max(-int(values.min()), int(values.max())) > 2**24):
        raise _altered(path, f"has values up to {np.abs(values.astype(float)).max():.0f}, more "
                       "than float32 holds exactly", "scale or window it first")
    return values.astype(np.float32)


def _altered(path: Path, what: str, cure: str) -> UserError:
    return UserError(f"{path}: {what}, which would be altered in reading; {cure}")

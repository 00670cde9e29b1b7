"""Pictures (PNG, JPEG, TIFF, BMP) as their files define the values: by tags, never by content."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import tiff
from medjax.data.found import RawImage, check_bytes
from medjax.errors import UserError

_VALUES = {"1": 1, "L": 1, "P": 3, "RGB": 3, "RGBA": 4, "LA": 2, "I": 1, "F": 1}  # of a pixel
_bounds: list[int | None] = []  # of threads that read, all the same
_bound = contextlib.ExitStack()  # what ends it
_change = threading.Condition()
_BUFFER = 2**20  # bytes; decoders ask the file for little at a time
WORKING = 12  # bytes a pixel that Pillow takes beside its answer, for a frame and those before it


class Kind(NamedTuple):
    """How a page stores its values.

    Attributes:
      mode, raw: what Pillow makes of it, and from what.
      page: what a TIFF says of it; None of other files.
    """

    size: tuple[int, int]
    mode: str
    raw: str
    page: tiff.Page | None = None

    @property
    def bits(self) -> int:
        return self.page.bits if self.page else 8

    @property
    def signed(self) -> bool:
        return self.mode == "F" or (self.page is not None and self.page.sample != tiff.UNSIGNED)

    @property
    def white_is_zero(self) -> bool:
        return self.page is not None and self.page.photometric == 0


def read(path: Path, *, limit_bytes: int) -> RawImage:
    """The pixels, upright as a viewer shows them (EXIF and TIFF orientation applied).

    8-bit and 16-bit unsigned values keep their type, all other gray becomes float32. A TIFF of
    several pages is a volume; of another format with several pictures the first is taken.

    Raises:
      UserError: for values that would be altered (colour of 16 bits, transparency, ...), a damaged
        PNG or TIFF, and what is larger than `limit_bytes` once it is decoded.
    """
    from PIL import Image

    directories = _directories(path)
    # By a file and not by its name: Pillow maps a named TIFF into memory as if it were not turned.
    # Our own bound is told beforehand; Pillow's would be a warning, or another message.
    with (
        _most_pixels(None),
        path.open("rb", buffering=_BUFFER) as file,
        _opened(path, file, directories) as picture,
    ):
        kinds = _pages(picture, path, directories) if directories else {0: _kind(picture)}
        check_bytes(path, sum(_bytes(k) for k in kinds.values()), limit_bytes=limit_bytes)
        if picture.format == "PNG":
            with path.open("rb", buffering=_BUFFER) as again, Image.open(again) as opened:
                opened.verify()  # every check sum; decoding alone does not look at all of them
        pages = []
        for number, kind in kinds.items():
            if directories:
                picture.seek(number)
            pages.append(_page(picture, kind, path))
    return RawImage(pages[0]) if len(pages) == 1 else RawImage(np.stack(pages), axes="zyx")


def count(path: Path) -> int:
    """How many pictures a TIFF holds, previews left out; 1 of other files."""
    return max(sum(not page.reduced for page in _directories(path)), 1)


def _directories(path: Path) -> list[tiff.Page]:
    """The pages of a TIFF, by its content; none of other files."""
    with path.open("rb") as file:
        begun = file.read(4)
    marks = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    pages = tiff.pages(path) if begun in marks else []
    for number, page in enumerate(pages, start=1):
        what = (
            f"{page.others} values more a pixel than it shows"
            if page.others > 0
            else f"{page.kind} values, big-endian and compressed"
            if page.big_endian
            and page.compressed
            and (page.sample != tiff.UNSIGNED or page.bits > 16)
            else ""
        )
        if what:  # Pillow drops the first, and turns the bytes of the second round once more
            raise _altered(
                path, f"page {number} has {what}", "save it as plain gray or RGB, little-endian"
            )
    return pages


def _opened(path: Path, file: Any, pages: list[tiff.Page]) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if not pages:
            raise UserError(
                f"{path}: unreadable or truncated image (its content is that of no picture)"
            ) from None
        kinds = " and ".join(dict.fromkeys(page.kind for page in pages))
        raise UserError(
            f"{path}: holds {kinds} values in a way that cannot be read; save it as "
            "gray of 8 or 16 bits, or as float of 32 bits"
        ) from None


@contextlib.contextmanager
def _most_pixels(count: int | None) -> Iterator[None]:
    """Pillow's bound is one for all threads: those that ask for the same share it, others wait
    until these are done."""
    with _change:
        _change.wait_for(lambda: not _bounds or _bounds[0] == count)
        if not _bounds:
            _bound.enter_context(_bound_of(count))
        _bounds.append(count)
    try:
        yield
    finally:
        with _change:
            _bounds.pop()
            if not _bounds:
                _bound.close()
                _change.notify_all()


@contextlib.contextmanager
def _bound_of(count: int | None) -> Iterator[None]:
    """Pillow raises an error for more than twice as many pixels."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, count
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


@contextlib.contextmanager
def no_larger(path: Path, *, limit_bytes: int) -> Iterator[None]:
    """Raises UserError if a frame needs more, when Pillow comes to it and before it decodes it."""
    from PIL import Image

    try:
        with _most_pixels(limit_bytes // (2 * WORKING)):
            yield
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: a frame of it needs more than `max_image_gb="
            f"{limit_bytes / 1e9:g}` to decode; raise it if the file is right"
        ) from None


def _kind(picture: Any) -> Kind:
    tile = picture.tile[0].args if picture.tile else ()
    raw = tile if isinstance(tile, str) else str(tile[0]) if tile else ""
    return Kind(picture.size, picture.mode, raw)


def _pages(picture: Any, path: Path, pages: list[tiff.Page]) -> dict[int, Kind]:
    """The pages of a TIFF by number, without the previews among them."""
    kinds = {}
    for number, page in enumerate(pages):
        if number and page.reduced:
            continue
        picture.seek(number)
        kinds[number] = _kind(picture)._replace(page=page._replace(reduced=False))
    odd = next((n for n, kind in kinds.items() if kind != kinds[0]), None)
    if odd is not None:
        raise UserError(
            f"{path}: page {odd + 1} differs from the first in size or type "
            f"({_describe_kind(kinds[odd])}, {_describe_kind(kinds[0])}); keep one picture, "
            "or pages of one kind, which are a volume"
        )
    return kinds


def _describe_kind(kind: Kind) -> str:
    return f"{kind.size[0]} x {kind.size[1]} {kind.mode}"


def _bytes(kind: Kind) -> int:
    return kind.size[0] * kind.size[1] * _VALUES.get(kind.mode, 4) * max(kind.bits // 8, 1)


def _page(picture: Any, kind: Kind, path: Path) -> np.ndarray:
    """`[height, width, channel]`."""
    from PIL import ImageOps

    if kind.mode not in _VALUES and not kind.mode.startswith("I;16"):
        raise _altered(path, f"colours are {kind.mode}", "convert it to RGB")
    deep = kind.bits > 8 or kind.raw.endswith((";16B", ";16L", ";16N"))
    if kind.mode in ("RGB", "RGBA", "LA") and deep:
        raise _altered(
            path, "colour or transparency of 16 bits", "convert it to 8 bits, or to gray of 16 bits"
        )
    if picture.format != "TIFF":  # Pillow turns those itself
        picture = ImageOps.exif_transpose(picture)
    if (
        kind.mode in ("1", "I", "F")
        or kind.mode.startswith("I;16")
        or (kind.mode == "L" and kind.signed)
    ):
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
    values = np.asarray(picture.convert("L") if kind.mode == "1" else picture)
    clear = picture.info.get("transparency")
    if clear is not None and (values == (255 * bool(clear) if kind.mode == "1" else clear)).any():
        raise _altered(path, "has transparent pixels", "flatten it onto a background")
    if kind.mode == "1":
        return values
    if kind.white_is_zero and (kind.signed or kind.bits > 16):
        raise _altered(
            path, "is WhiteIsZero of signed, float or 32-bit values", "save it as BlackIsZero"
        )
    if kind.mode.startswith("I;16") or (kind.mode == "I" and picture.format == "PNG"):
        sixteen = values.astype(np.uint16)
        return (2**kind.bits - 1 - sixteen).astype(np.uint16) if kind.white_is_zero else sixteen
    if kind.mode == "L":
        return values.view(np.int8).astype(np.float32)
    if kind.mode == "I" and not kind.signed and kind.bits == 32:
        values = values.view(np.uint32)
    return exact_float32(values, path)


def exact_float32(values: np.ndarray, path: Path) -> np.ndarray:
    """The values as float32; raises UserError where whole numbers are too large for it."""
    if (
        values.dtype.kind in "iu"
        and values.dtype.itemsize > 2
        and values.size
        and (max(-int(values.min()), int(values.max())) > 2**24)
    ):
        raise _altered(
            path,
            f"has values up to {np.abs(values.astype(float)).max():.0f}, more "
            "than float32 holds exactly",
            "scale or window it first",
        )
    return values.astype(np.float32)


def _altered(path: Path, what: str, cure: str) -> UserError:
    return UserError(f"{path}: {what}, which would be altered in reading; {cure}")

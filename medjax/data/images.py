"""Reads one image or volume from a file."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import dicom, nifti, pictures, walk
from medjax.data import series as dicom_series
from medjax.data.found import Layout, RawImage
from medjax.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
SUFFIXES = PICTURES + NIFTI + DICOM
LIMIT_BYTES = 2 * 10**9  # of one image once it is decoded
__all__ = ["Layout", "RawImage"]  # what others find here


def suffix(path: Path) -> str:
    """The suffix in lower case, `.nii.gz` in one piece."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def kind(path: Path, *, known: Sequence[str] = SUFFIXES) -> str:
    """The suffix; where it is not known, that of DICOM if the content is DICOM."""
    ending = suffix(path)
    if ending in known or path.name.upper() == "DICOMDIR":  # a directory of others
        return ending
    return DICOM[0] if dicom.is_dicom(path) else ending


def stem(path: Path) -> str:
    """The name without the suffix that says its kind, where it has one that does."""
    end = suffix(path)
    return path.name[: -len(end)] if end in SUFFIXES else path.name


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix, else by its content."""
    return kind(path) in DICOM


def slices_in(folder: Path) -> list[Path]:
    """The DICOM files below a folder."""
    return walk.find(folder, is_dicom).files


def is_image(path: Path) -> bool:
    """Whether `read` knows the kind of file."""
    return kind(path) in SUFFIXES


def read(
    path: Path, *, limit_bytes: int = LIMIT_BYTES, stacked: bool = False, series: str = ""
) -> RawImage:
    """The pixels of `path`, and what the file tells of their geometry.

    Pictures keep 8 or 16 bits; a TIFF of several pages is a volume; NIfTI and DICOM are float32 in
    the units of the file's own scaling. A folder is a DICOM series.

    Args:
      limit_bytes: an image that is larger once it is decoded is refused before it takes memory.
      stacked: a fourth axis of NIfTI holds channels, as in the Decathlon; else it is refused.
      series: which one of a folder that holds several, as of `series.read`.

    Raises:
      UserError: if the file cannot be read as it is meant, or a pixel is not finite; it names the
        path.
    """
    readers: dict[str, Callable[..., RawImage]] = {
        **dict.fromkeys(PICTURES, pictures.read),
        **dict.fromkeys(NIFTI, functools.partial(nifti.read, stacked=stacked)),
        **dict.fromkeys(DICOM, dicom.read),
    }
    with readable(path, what="image"):
        if path.is_dir():
            slices = slices_in(path)
            raw_image = dicom_series.read(path, slices, limit_bytes=limit_bytes, series=series)
        else:
            raw_image = readers[_known(path)](path, limit_bytes=limit_bytes)
    pixels = raw_image.pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise UserError(f"{path}: {count} NaN or infinite pixels; mend or remove the image")
    return raw_image


def layout(path: Path, *, stacked: bool = False, series: str = "") -> Layout | None:
    """How the image of a NIfTI or DICOM file lies, by its header; None for pictures."""
    readers: dict[str, Callable[..., Layout]] = {
        **dict.fromkeys(NIFTI, functools.partial(nifti.layout, stacked=stacked)),
        **dict.fromkeys(DICOM, dicom.layout),
    }
    if path.is_dir():
        with readable(path, what="image"):
            return dicom_series.layout(path, slices_in(path), series=series)
    name = _known(path)
    with readable(path, what="image"):
        return readers[name](path) if name in readers else None


def _known(path: Path) -> str:
    name = kind(path)
    if name not in SUFFIXES:
        raise UserError(
            f"{path}: cannot read {name or 'a file without suffix'!r}; "
            f"known are {', '.join(SUFFIXES)}"
        )
    return name


@contextlib.contextmanager
def readable(path: Path, *, what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a UserError that names the path."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what} file") from None
    except Exception as e:  # each decoder has its own exceptions; all mean the same to the user
        raise UserError(f"{path}: unreadable or truncated {what} ({e})") from e


def in_channels(pixels: np.ndarray, channels: str) -> np.ndarray:
    """Pixels `[..., channel]` as `gray` (luminance of ITU-R 601) or `rgb`; empty: as they are."""
    if channels == "rgb" and pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, -1)
    if channels == "gray" and pixels.shape[-1] == 3:
        gray = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return (np.rint(gray) if pixels.dtype.kind == "u" else gray).astype(pixels.dtype)[..., None]
    return pixels


def match_channels(pixels: np.ndarray, channels: str, *, count: int) -> np.ndarray:
    """Pixels of a new image as those of a training, `channels` as of `in_channels`; further to
    `count` channels where nothing is lost: equal ones are one, and one is three equal ones."""
    pixels = in_channels(pixels, channels)
    if count == 1 and pixels.shape[-1] == 3 and (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    return in_channels(pixels, "rgb" if count == 3 else "")


def resize(pixels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`pixels` with sides of `shape`, linearly interpolated, smoothed first if shrunk."""
    if pixels.shape[:-1] == tuple(shape):
        return pixels
    values = pixels.astype(np.float32)
    for side in shape:  # the first axis goes last: after all, channels stand first
        first, *rest = values.shape
        shrunk = _shares(first, side) @ values.reshape(first, -1)
        values = np.moveaxis(shrunk.reshape(side, *rest), 0, -1)
    values = np.moveaxis(values, 0, -1)
    if pixels.dtype.kind in "iu":
        values = np.rint(values)
    return values.astype(pixels.dtype, order="C")


@functools.lru_cache(maxsize=8)
def _shares(old: int, new: int) -> Any:
    """`[new, old]`, sparse: how much of each old pixel of a line a new one has.

    Smoothed by a Gaussian of half of what pixels grow by, as scikit-image does against aliasing,
    cut at four of its deviations; beyond the ends lies the last pixel.
    """
    from scipy import sparse

    growth = old / new
    sd = max((growth - 1) / 2, 1e-9)
    reach = int(4 * sd + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    kernel /= kernel.sum()
    place = np.clip((np.arange(new) + 0.5) * growth - 0.5, 0, old - 1)
    below = np.minimum(place.astype(int), max(old - 2, 0))
    part = (place - below)[:, None]
    weights = (1 - part) * np.append(kernel, 0) + part * np.append(0, kernel)  # [new, reaches]
    near = np.clip(below[:, None] + np.arange(-reach, reach + 2), 0, old - 1)
    row = np.broadcast_to(np.arange(new)[:, None], near.shape)
    entries = (weights.astype(np.float32).ravel(), (row.ravel(), near.ravel()))
    return sparse.csr_array(entries, shape=(new, old))


def black_and_white(pixels: np.ndarray) -> tuple[float, float]:
    """The intensities of an image that 8 bits of it begin and end with where nobody says it."""
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.quantile(pixels, [0.005, 0.995])
    return float(low), float(high)


def eight_bits(pixels: np.ndarray, window: tuple[float, ...]) -> np.ndarray:
    """Pixels from 0 to 255: the window's values, else (unless they have 8 bits already) from the
    0.5th to the 99.5th percentile of this image."""
    if pixels.dtype == np.uint8 and not window:
        return pixels
    low, high = window or black_and_white(pixels)
    unit = (pixels.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.rint(255 * np.clip(unit, 0.0, 1.0)).astype(np.uint8)

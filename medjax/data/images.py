"""Reads one image or volume from a file."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
SUFFIXES = PICTURES + NIFTI + DICOM


class Found(NamedTuple):
    """An image as it is stored.

    Attributes:
      pixels: `[*space, channel]`.
      spacing_mm: of each axis, where the file tells it.
      affine: from voxel to world (RAS mm), where the file tells it: NIfTI volumes.
      axes: which of the file's coordinates each axis counts, as `yx` of a picture.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    affine: np.ndarray | None = None
    axes: str = "yx"


def suffix(path: Path) -> str:
    """The suffix in lower case, `.nii.gz` in one piece."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read(path: Path) -> Found:
    """The pixels of `path`, and what the file tells of their geometry.

    Pictures keep 8 or 16 bits; a TIFF of several pages is a volume; NIfTI and DICOM are float32 in
    the units of the file's own scaling.

    Raises:
      UserError: if the file cannot be read, or a pixel is not finite; it names the path.
    """
    readers: dict[str, Callable[[Path], Found]] = {
        **dict.fromkeys(PICTURES, _picture), **dict.fromkeys(NIFTI, _nifti),
        **dict.fromkeys(DICOM, _dicom)}
    kind = suffix(path)
    if kind not in readers:
        raise UserError(f"{path}: cannot read {kind or 'a file without suffix'!r}; "
                        f"known are {', '.join(SUFFIXES)}")
    with readable(path, what="image"):
        found = readers[kind](path)
    pixels = found.pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise UserError(f"{path}: {count} NaN or infinite pixels; mend or remove the image")
    return found


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


def _picture(path: Path) -> Found:
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        pages = [_page(p) for p in ImageSequence.Iterator(picture)]
    return Found(pages[0]) if len(pages) == 1 else Found(np.stack(pages), axes="zyx")


def _page(picture) -> np.ndarray:
    """One page: gray stays gray (8 or 16 bits, or float), all else becomes RGB."""
    gray = {"1": "L", "L": "L", "LA": "L", "La": "L"}
    if picture.mode.startswith("I") or picture.mode == "F":
        pixels = np.asarray(picture)
        if picture.mode != "F" and pixels.min() >= 0 and pixels.max() < 2**16:
            return pixels.astype(np.uint16)[..., None]
        return pixels.astype(np.float32)[..., None]
    if picture.mode in gray:
        return np.asarray(picture.convert("L"))[..., None]
    return np.asarray(picture.convert("RGB"))


def _nifti(path: Path) -> Found:
    import nibabel

    image: Any = nibabel.load(path)
    pixels = np.asarray(image.dataobj, dtype=np.float32)
    spacing = image.header.get_zooms()[: pixels.ndim]
    while pixels.ndim > 2 and pixels.shape[-1] == 1:
        pixels, spacing = pixels[..., 0], spacing[: pixels.ndim - 1]
    if pixels.ndim not in (2, 3):
        raise UserError(f"{path}: has {pixels.ndim} axes; one image has 2 or 3")
    known = tuple(float(s) for s in spacing) if (np.asarray(spacing) > 0).all() else None
    volume = pixels.ndim == 3
    return Found(pixels[..., None], known, image.affine if volume else None, "xyz"[: pixels.ndim])


def _dicom(path: Path) -> Found:
    try:
        import pydicom
    except ImportError:
        raise UserError(
            f"{path}: reading DICOM needs pydicom; pip install pydicom") from None
    record = pydicom.dcmread(path)
    pixels = record.pixel_array
    if record.get("SamplesPerPixel", 1) == 3:
        return Found(np.asarray(pixels, np.uint8))
    slope, offset = (float(record.get(k, d)) for k, d in
                     (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    pixels = pixels.astype(np.float32) * slope + offset
    if record.get("PhotometricInterpretation") == "MONOCHROME1":  # small values are bright
        pixels = pixels.max() + pixels.min() - pixels
    spacing = record.get("PixelSpacing")
    known = spacing is not None and pixels.ndim == 2
    return Found(pixels[..., None], tuple(float(s) for s in spacing) if known else None,
                 axes="yx" if pixels.ndim == 2 else "zyx")


def resize(pixels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`pixels` with sides of `shape`, linearly interpolated, smoothed first if shrunk."""
    from scipy import ndimage

    zoom = [size / n for size, n in zip(shape, pixels.shape[:-1], strict=True)]
    if all(z == 1.0 for z in zoom):
        return pixels
    values = pixels.astype(np.float32)
    sigma = [max(0.0, (1.0 / z - 1.0) / 2.0) for z in zoom]
    values = ndimage.gaussian_filter(values, [*sigma, 0.0], mode="nearest")
    values = ndimage.zoom(values, [*zoom, 1.0], order=1, mode="nearest", grid_mode=True)
    if pixels.dtype.kind == "u":
        values = np.rint(values)
    return values.astype(pixels.dtype)


def eight_bits(pixels: np.ndarray, window: tuple[float, ...]) -> np.ndarray:
    """Pixels from 0 to 255: the window's values, else (unless they have 8 bits already) from the
    0.5th to the 99.5th percentile of this image."""
    if pixels.dtype == np.uint8 and not window:
        return pixels
    low, high = window or np.quantile(pixels, [0.005, 0.995])
    unit = (pixels.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.rint(255 * np.clip(unit, 0.0, 1.0)).astype(np.uint8)

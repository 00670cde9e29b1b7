"""Reads the frames of one sequence from a file, or from a folder of pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import images
from medjax.data.sequences.case import Clip
from medjax.errors import UserError

ANIMATED = (".gif",)
VIDEOS = (".avi", ".mp4", ".mov", ".mkv")
SUFFIXES = (*images.NIFTI, *images.DICOM, *ANIMATED, *VIDEOS, ".tif", ".tiff")


def read(path: Path, *, plane: int | None = None) -> Clip:
    """The frames of a GIF, video, 4-D NIfTI, DICOM or TIFF of many pages, or a folder of pictures.

    NIfTI of x, y, t or x, y, z, t; DICOM and NIfTI may tell the time between frames. Frames show
    the second axis of a NIfTI downwards.

    Args:
      plane: which z of a 4-D volume; None where it has one.

    Raises:
      UserError: if it cannot be read, or a frame is not finite; it names the path.
    """
    kind = images.suffix(path)
    with images.readable(path, what="sequence"):
        if path.is_dir():
            clip = _folder(path)
        elif kind in images.NIFTI:
            clip = _nifti(path, plane)
        elif kind in VIDEOS:
            clip = _video(path)
        else:
            clip = _pages(path)
    if clip.frames.dtype.kind == "f" and not np.isfinite(clip.frames).all():
        raise UserError(f"{path}: NaN or infinite pixels; mend or remove the sequence")
    return clip


def count(path: Path) -> tuple[int, int]:
    """How many frames and how many planes a file holds, from its header where that tells it."""
    if path.is_dir():
        return len(_pictures(path)), 1
    if images.suffix(path) in images.NIFTI:
        shape = _volume(path).shape
        return shape[-1], _depth(shape)
    return len(read(path).frames), 1


def planes(path: Path) -> int:
    """How many planes a file holds, of which each is a sequence; only a 4-D NIfTI has several."""
    return _depth(_volume(path).shape) if images.suffix(path) in images.NIFTI else 1


def _depth(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 4 else 1


def _pictures(path: Path) -> list[Path]:
    found = sorted(p for p in path.iterdir() if images.suffix(p) in images.PICTURES)
    if not found:
        raise UserError(f"{path}: no pictures in it ({', '.join(images.PICTURES)})")
    return found


def _folder(path: Path) -> Clip:
    """Frames in the order of their names."""
    names = _pictures(path)
    frames = [images.read(p).pixels for p in names]
    odd = next((p for p, f in zip(names, frames, strict=True) if f.shape != frames[0].shape), None)
    if odd is not None:
        raise UserError(f"{odd}: its size differs from that of {names[0].name}; the frames of a "
                        "sequence have one size")
    return Clip(np.stack(frames))


def _volume(path: Path) -> Any:
    import nibabel

    with images.readable(path, what="sequence"):
        image: Any = nibabel.load(path)
    if len(image.shape) not in (3, 4):
        raise UserError(f"{path}: has {len(image.shape)} axes; a sequence has x, y, t or "
                        "x, y, z, t")
    return image


def _nifti(path: Path, plane: int | None) -> Clip:
    image = _volume(path)
    zooms, (_, unit) = image.header.get_zooms(), image.header.get_xyzt_units()
    pixels = np.asarray(image.dataobj[..., plane or 0, :] if len(image.shape) == 4
                        else image.dataobj, np.float32)
    scale = {"sec": 1e3, "msec": 1.0, "usec": 1e-3}.get(unit)
    step = float(zooms[-1]) * scale if scale and zooms[-1] > 0 else None
    spacing = (float(zooms[1]), float(zooms[0]))
    return Clip(pixels.transpose(2, 1, 0)[..., None], spacing if min(spacing) > 0 else None, step)


def _pages(path: Path) -> Clip:
    """Pictures with several pages, and DICOM of several frames."""
    from PIL import Image, ImageSequence

    if images.suffix(path) in ANIMATED:
        frames, waits = [], []
        with Image.open(path) as picture:
            for page in ImageSequence.Iterator(picture):
                frames.append(np.asarray(page.convert("RGB")))
                waits.append(page.info.get("duration", 0))
        stack = np.stack(frames)
        gray = (stack[..., :1] == stack).all()
        return Clip(stack[..., :1] if gray else stack, None, float(np.mean(waits)) or None)
    found = images.read(path)
    pixels = found.pixels if found.pixels.ndim == 4 else found.pixels[None]
    return Clip(pixels, None, _dicom_step(path) if images.suffix(path) in images.DICOM else None)


def _dicom_step(path: Path) -> float | None:
    import pydicom

    step = pydicom.dcmread(path, stop_before_pixels=True).get("FrameTime")
    return float(step) if step else None


def _video(path: Path) -> Clip:
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: reading videos needs PyAV; pip install av") from None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
        rate = stream.average_rate
    spread = np.quantile(np.ptp(frames.astype(np.int16), axis=-1), 0.999)
    gray = spread <= 8  # what compression in colour leaves of a gray video
    return Clip(frames[..., 1:2] if gray else frames, None, 1e3 / float(rate) if rate else None)

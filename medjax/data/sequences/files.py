"""Reads the frames of one sequence from a file, or from a folder of pictures."""

from pathlib import Path

import numpy as np

from medjax.data import images, nifti, pictures, walk
from medjax.data.found import check_bytes, known_spacing
from medjax.data.sequences.case import Clip
from medjax.errors import UserError

ANIMATED = (".gif",)
VIDEOS = (".avi", ".mp4", ".mov", ".mkv")
SUFFIXES = (*images.NIFTI, *images.DICOM, *ANIMATED, *VIDEOS, ".tif", ".tiff")


def kind(path: Path) -> str:
    """The suffix; where it is not known, that of DICOM if the content is DICOM."""
    return images.kind(path, known=(*SUFFIXES, *images.PICTURES))


def is_sequence(path: Path) -> bool:
    """Whether a file may hold several frames; a TIFF of one page is a frame of a folder."""
    name = kind(path)
    if name not in images.PICTURES:
        return name in SUFFIXES
    try:
        return name in SUFFIXES and pictures.count(path) > 1
    except (UserError, OSError):  # told when it is read, as a frame
        return False


def read(path: Path, *, plane: int | None = None, limit_bytes: int = images.LIMIT_BYTES) -> Clip:
    """The frames of a GIF, video, 4-D NIfTI, DICOM or TIFF of many pages, or a folder of pictures.

    NIfTI of x, y, t or x, y, z, t; DICOM and NIfTI may tell the time between frames. Frames show
    the second axis of a NIfTI downwards.

    Args:
      plane: which z of a 4-D volume; None where it has one.
      limit_bytes: a sequence that is larger once it is decoded is refused.

    Raises:
      UserError: if it cannot be read, or a frame is not finite; it names the path.
    """
    name = kind(path)
    with images.readable(path, what="sequence"):
        if path.is_dir():
            clip = _folder(path, limit_bytes)
        elif name in images.NIFTI:
            clip = _nifti(path, plane, limit_bytes)
        elif name in VIDEOS:
            clip = _video(path, limit_bytes)
        elif name in ANIMATED:
            clip = _animated(path, limit_bytes)
        else:
            clip = _frames(path, limit_bytes)
    if clip.frames.dtype.kind == "f" and not np.isfinite(clip.frames).all():
        raise UserError(f"{path}: NaN or infinite pixels; mend or remove the sequence")
    return clip


def count(path: Path, *, limit_bytes: int = images.LIMIT_BYTES) -> tuple[int, int]:
    """How many frames and how many planes a file holds, from its header where that tells it."""
    if path.is_dir():
        return len(_pictures(path)), 1
    if kind(path) in images.NIFTI:
        shape = _header(path).parsed.get_data_shape()
        return shape[-1], _depth(shape)
    return len(read(path, limit_bytes=limit_bytes).frames), 1


def planes(path: Path) -> int:
    """How many planes a file holds, of which each is a sequence; only a 4-D NIfTI has several."""
    return _depth(_header(path).parsed.get_data_shape()) if kind(path) in images.NIFTI else 1


def _depth(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 4 else 1


def _pictures(path: Path) -> list[Path]:
    pictures = walk.in_order(
        p
        for p in path.iterdir()
        if images.suffix(p) in images.PICTURES and not walk.is_hidden(p.name)
    )
    if not pictures:
        raise UserError(f"{path}: no pictures in it ({', '.join(images.PICTURES)})")
    return pictures


def _folder(path: Path, limit_bytes: int) -> Clip:
    """Frames in the order of the numbers in their names."""
    names = _pictures(path)
    first = images.read(names[0], limit_bytes=limit_bytes).pixels
    check_bytes(path, len(names) * first.nbytes, limit_bytes=limit_bytes)
    frames = [images.read(p, limit_bytes=limit_bytes).pixels for p in names]
    odd = next(
        (
            p
            for p, f in zip(names, frames, strict=True)
            if f.ndim != 3 or f.shape != first.shape or f.dtype != first.dtype
        ),
        None,
    )
    if odd is not None:
        raise UserError(
            f"{odd}: its size or type differs from that of {names[0].name}, or it has "
            "several pages; the frames of a sequence are single pictures of one size"
        )
    return Clip(np.stack(frames))


def _header(path: Path) -> nifti.Header:
    with images.readable(path, what="sequence"):
        header = nifti.header_of(path, timed=True)
    axes = len(header.parsed.get_data_shape())
    if axes not in (3, 4):
        raise UserError(f"{path}: has {axes} axes; a sequence has x, y, t or x, y, z, t")
    return header


def _nifti(path: Path, plane: int | None, limit_bytes: int) -> Clip:
    _header(path)
    header, pixels = nifti.load(path, limit_bytes=limit_bytes, timed=True)
    pixels = pixels[..., plane or 0, :] if pixels.ndim == 4 else pixels
    across, down, *_ = header.spacing_mm or (np.nan, np.nan)
    return Clip(
        pixels.transpose(2, 1, 0)[..., None],
        (down, across) if header.spacing_mm else None,
        header.frame_ms,
    )


def _animated(path: Path, limit_bytes: int) -> Clip:
    from PIL import Image, ImageSequence

    frames, waits = [], []
    with pictures.no_larger(path, limit_bytes=limit_bytes), Image.open(path) as picture:
        count = getattr(picture, "n_frames", 1)
        for page in ImageSequence.Iterator(picture):  # a frame may be larger than the first said
            check_bytes(
                path,
                page.width * page.height * (3 * count + pictures.WORKING),
                limit_bytes=limit_bytes,
            )
            frames.append(np.asarray(page.convert("RGB")))
            waits.append(page.info.get("duration", 0))
    stack = np.stack(frames)
    gray = (stack[..., :1] == stack).all()
    return Clip(stack[..., :1] if gray else stack, None, float(np.mean(waits)) or None)


def _frames(path: Path, limit_bytes: int) -> Clip:
    """A TIFF with several pages, or DICOM of several frames."""
    raw_image = images.read(path, limit_bytes=limit_bytes)
    pixels = raw_image.pixels if raw_image.pixels.ndim == 4 else raw_image.pixels[None]
    plane = raw_image.spacing_mm[-2:] if raw_image.spacing_mm else ()
    spacing = (plane[0], plane[1]) if known_spacing(plane or None) else None
    return Clip(pixels, spacing, _dicom_step(path) if kind(path) in images.DICOM else None)


def _dicom_step(path: Path) -> float | None:
    import pydicom

    step = pydicom.dcmread(path, stop_before_pixels=True, force=True).get("FrameTime")
    return float(step) if step else None


def _video(path: Path, limit_bytes: int) -> Clip:
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: reading videos needs PyAV; pip install av") from None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pages: list[np.ndarray] = []
        for frame in container.decode(stream):
            check_bytes(
                path, frame.width * frame.height * 3 * (len(pages) + 1), limit_bytes=limit_bytes
            )  # no header tells how many there are
            pages.append(frame.to_ndarray(format="rgb24"))
        frames, rate = np.stack(pages), stream.average_rate
        seconds = float(container.duration or 0) / av.time_base
        stated = stream.frames or (seconds * float(rate) if rate else 0)
    if len(frames) < 0.9 * stated - 1:
        raise UserError(
            f"{path}: is truncated: {len(frames)} of about {stated:.0f} frames are in it"
        )
    spread = np.quantile(np.ptp(frames.astype(np.int16), axis=-1), 0.999)
    gray = spread <= 8  # what compression in colour leaves of a gray video
    return Clip(frames[..., 1:2] if gray else frames, None, 1e3 / float(rate) if rate else None)

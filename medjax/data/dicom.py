"""DICOM files: pixels in the units of their modality, where they lie, and whose they are."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.found import Layout, RawImage, check_bytes
from medjax.data.pictures import exact_float32
from medjax.errors import UserError

_PREAMBLE, _MAGIC = 128, b"DICM"
_CENTIMETRES = 3  # unit code of an ultrasound region
_SYNTAXES = {  # by whether value representations are implied, and whether low bytes come first
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}
_APART = 0.01  # share by which statements of one length may differ


def is_dicom(path: Path) -> bool:
    """Whether the content says so, whatever the name."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + 4)[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def read(path: Path, *, limit_bytes: int) -> RawImage:
    """The image: gray as float32 in the units of its modality, colour as stored.

    Raises:
      UserError: if it holds no image of one or three values a pixel, or one that is too large.
    """
    record = _record(path)
    samples, frames = int(record.get("SamplesPerPixel", 1)), int(record.get("NumberOfFrames") or 1)
    if not any(name in record for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UserError(f"{path}: holds no pixels; it is no image")
    if samples not in (1, 3):
        raise UserError(f"{path}: has {samples} values a pixel; an image has 1 or 3")
    size = int(record.Rows) * int(record.Columns) * samples * frames
    check_bytes(path, size * 4, limit_bytes=limit_bytes)
    pixels = _decode(path, record, samples)
    if frames == 1 and pixels.ndim == 4:
        pixels = pixels[0]
    where = _layout(path, record, frames)
    return RawImage(pixels, where.spacing_mm, where.affine, where.axes)


def layout(path: Path) -> Layout:
    """How it lies, without its pixels."""
    record = _record(path, stop_before_pixels=True)
    return _layout(path, record, int(record.get("NumberOfFrames") or 1))


def patient_and_study(path: Path) -> tuple[str, str]:
    """What the header calls the patient, and the examination; empty where it does not."""
    names = ("PatientID", "StudyInstanceUID")
    record = _record(path, stop_before_pixels=True, specific_tags=[*names, "Rows"])
    patient, study = (str(record.get(name) or "").strip() for name in names)
    return patient, study


class Slice(NamedTuple):
    """What the header of a file tells of the series that it belongs to, and of its place in it.

    Attributes:
      names: of the series: its UID, and its number and description where they are given.
      frames: 1 of a slice; 0 of an object without image, as a report; else several images.
      shape: rows and columns.
      plane_mm: the size of a pixel, row and column; None where it is not known.
      turn: directions of rows and columns, `[6]`; place: of the first pixel, `[3]`, LPS mm; None
        where the file does not say.
      integer_type: as of `Layout`: whole numbers in the units of the modality.
    """

    path: Path
    names: tuple[str, str, str]
    frames: int
    shape: tuple[int, int]
    plane_mm: tuple[float, float] | None
    turn: np.ndarray | None
    place: np.ndarray | None
    integer_type: str = ""

    @property
    def uid(self) -> str:
        return self.names[0]


def read_slice(path: Path) -> Slice:
    """What the header says."""
    record = _record(path, other=True, stop_before_pixels=True)
    fields = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription")
    uid, number, text = (str(record.get(name) or "").strip() for name in fields)
    if "Rows" not in record:
        return Slice(path, (uid, number, text), 0, (0, 0), None, None, None)
    turns, place = _turns(record), record.get("ImagePositionPatient")
    return Slice(
        path,
        (uid, number, text),
        int(record.get("NumberOfFrames") or 1),
        (int(record.Rows), int(record.Columns)),
        _plane_mm(path, record),
        turns[0] if len(turns) else None,
        np.array(place, float) if place else None,
        _integer_type(record),
    )


def _integer_type(record: Any) -> str:
    """The type of 16 bits that all values may have, in the units of the modality; else empty."""
    if record.get("ModalityLUTSequence") or int(record.get("SamplesPerPixel", 1)) != 1:
        return ""
    try:
        ends = _modality(_ends(record), record, record)
        steps = _modality(np.arange(2), record, record)
    except (AttributeError, TypeError, ValueError):  # without bits, or a scaling that is no number
        return ""
    if not (np.mod(ends, 1) == 0).all() or np.diff(steps)[0] % 1:
        return ""
    for kind in (np.int16, np.uint16):
        if np.iinfo(kind).min <= ends.min() and ends.max() <= np.iinfo(kind).max:
            return np.dtype(kind).name
    return ""


def _ends(record: Any) -> np.ndarray:
    """The least and the largest number that its bits can store."""
    bits, signed = int(record.BitsStored), bool(record.get("PixelRepresentation", 0))
    return np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])


def _record(path: Path, *, other: bool = False, **options: Any) -> Any:
    """The data set, also of a file that begins without preamble, as many do.

    Args:
      other: it may be an object without image.
    """
    record = _pydicom(path).dcmread(path, force=True, **options)
    if "Rows" not in record and not (other and "SOPClassUID" in record):
        raise UserError(f"{path}: unreadable or truncated image (no DICOM with rows of pixels)")
    if "TransferSyntaxUID" not in record.file_meta:  # it may begin with the data set itself
        record.file_meta.TransferSyntaxUID = _SYNTAXES[record.original_encoding]
    return record


def _pydicom(path: Path) -> Any:
    try:
        return importlib.import_module("pydicom")
    except ImportError:
        raise UserError(f"{path}: reading DICOM needs pydicom; pip install pydicom") from None


def _decode(path: Path, record: Any, samples: int) -> np.ndarray:
    """`[*space, channel]`."""
    from pydicom.pixels import apply_color_lut, pixel_array

    stored = pixel_array(record)
    kind = str(record.get("PhotometricInterpretation", ""))
    if samples == 3:
        return stored
    if kind == "PALETTE COLOR":
        return apply_color_lut(stored, record)[..., :3]
    groups = list(_frames(record, "PixelValueTransformationSequence"))
    if len(groups) > 1:
        gray = np.stack(
            [_gray(path, f, record, g, kind) for f, g in zip(stored, groups, strict=True)]
        )
    else:
        gray = _gray(path, stored, record, groups[0] if groups else record, kind)
    same = stored.dtype.kind in "iu" and stored.dtype.itemsize > 2 and np.array_equal(gray, stored)
    return (exact_float32(stored, path) if same else gray.astype(np.float32))[..., None]


def _gray(path: Path, stored: np.ndarray, record: Any, scaling: Any, kind: str) -> np.ndarray:
    """Stored values in the units of the modality; presented inverted for MONOCHROME1."""
    if kind != "MONOCHROME1":  # small values are bright
        return _modality(stored, record, scaling)
    if stored.dtype.kind == "f":
        raise UserError(
            f"{path}: is MONOCHROME1 of float values, which have no range to invert; convert it"
        )
    # Against the range of the stored type: that of the image would differ from one to the next.
    low, high = _modality(_ends(record), record, scaling)
    return low + high - _modality(stored, record, scaling)


def _modality(stored: np.ndarray, record: Any, scaling: Any) -> np.ndarray:
    """By the modality's table, or by slope and intercept; what is empty counts as absent."""
    from pydicom.pixels import apply_modality_lut

    if record.get("ModalityLUTSequence"):
        return apply_modality_lut(stored, record).astype(float)
    slope, offset = (
        _number(scaling, name, default)
        for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    if slope == 0:
        raise ValueError("RescaleSlope is 0, so that all values would be one")
    dose = _number(record, "DoseGridScaling", 1.0)  # of radiotherapy: gray a stored value
    return (stored.astype(float) * slope + offset) * dose


def _number(record: Any, name: str, default: float) -> float:
    value = record.get(name)
    return default if value in (None, "") else float(value)


def _frames(record: Any, name: str) -> Iterator[Any]:
    """The functional group `name`: one for all frames, or one a frame; none where it is absent.

    Raises:
      ValueError: if some frames have it and others not.
    """
    for shared in record.get("SharedFunctionalGroupsSequence") or ():
        if shared.get(name):
            yield shared[name].value[0]
            return
    frames = list(record.get("PerFrameFunctionalGroupsSequence") or ())
    values = [frame[name].value[0] for frame in frames if frame.get(name)]
    if 0 < len(values) < len(frames):
        raise ValueError(f"{len(values)} of its {len(frames)} frames have a {name}")
    yield from values


def _layout(path: Path, record: Any, frames: int) -> Layout:
    shape = (int(record.Rows), int(record.Columns))
    if str(record.get("DimensionOrganizationType") or "").startswith("TILED"):
        raise UserError(f"{path}: its frames are tiles of a slide; convert it into one picture")
    plane = _plane_mm(path, record)
    if frames == 1:
        return Layout(shape, plane)
    affine = _affine(path, record, frames, plane)
    step = np.linalg.norm(affine[:3, 0]) if affine is not None else _between(record)
    spacing = (float(step), *(plane or (np.nan, np.nan)))
    return Layout((frames, *shape), None if np.isnan(spacing).all() else spacing, affine, "zyx")


def _plane_mm(path: Path, record: Any) -> tuple[float, float] | None:
    """The size of a pixel, row and column; 0 and less mean that it is not known.

    Where frames state it, else the image, else the detector, which sees a patient magnified; by how
    much is taken from the file, or 1. Ultrasound states it of a region.
    """
    several = [
        spacing
        for group in _frames(record, "PixelMeasuresSequence")
        if (spacing := _pair(group.get("PixelSpacing")))
    ]
    if several:
        if np.ptp(several, axis=0).max() > _APART * np.min(several):
            raise UserError(f"{path}: its frames have pixels of several sizes; convert it")
        return several[0]
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing := _pair(record.get(name)):
            factor = _number(record, "EstimatedRadiographicMagnificationFactor", 1.0)
            larger = factor if name == "ImagerPixelSpacing" and factor > 0 else 1.0
            return spacing[0] / larger, spacing[1] / larger
    regions = [
        (10 * abs(float(r.PhysicalDeltaY)), 10 * abs(float(r.PhysicalDeltaX)))
        for r in record.get("SequenceOfUltrasoundRegions") or ()
        if r.get("PhysicalUnitsXDirection") == r.get("PhysicalUnitsYDirection") == _CENTIMETRES
    ]
    is_uniform = regions and np.ptp(regions, axis=0).max() <= _APART * np.min(regions)
    return _pair(regions[0]) if is_uniform else None


def _pair(value: Any) -> tuple[float, float] | None:
    try:
        rows, columns = (float(v) for v in value)
    except (TypeError, ValueError):  # absent, empty, a single number
        return None
    return (rows, columns) if 0 < rows < np.inf and 0 < columns < np.inf else None


def _between(record: Any) -> float:
    """The distance between frames that lie side by side, where it is stated."""
    if any(_frames(record, "PlanePositionSequence")):
        return np.nan  # they do not, or their places were taken
    for group in (*_frames(record, "PixelMeasuresSequence"), record):
        value = _number(group, "SpacingBetweenSlices", np.nan)
        if value > 0:
            return value
    return np.nan


def _affine(
    path: Path, record: Any, frames: int, plane: tuple[float, float] | None
) -> np.ndarray | None:
    """From frame, row and column to RAS mm, where frames lie evenly side by side.

    Raises:
      UserError: if they lie side by side in another order than they are stored in.
    """
    turns = _turns(record)
    places = _places(record, turns)
    if (
        plane is None
        or len(turns) == 0
        or len(places) != frames
        or np.ptp(turns, axis=0).max() > 1e-4
    ):
        return None
    along, down = turns[0].reshape(2, 3)
    heights = places @ np.cross(along, down)
    if (
        np.ptp(heights) > 0
        and not (np.diff(heights) > 0).all()
        and not (np.diff(heights) < 0).all()
        and len(np.unique(np.round(heights, 3))) == frames
    ):
        raise UserError(
            f"{path}: its frames are not stored in the order in which they lie; convert it"
        )
    steps = np.diff(places, axis=0)
    length = np.linalg.norm(steps, axis=1)
    if length.min() <= 0 or np.abs(steps - steps[0]).max() > _APART * length.max():
        return None
    return stacked(places, turns[0], plane)


def stacked(places: np.ndarray, turn: np.ndarray, plane: tuple[float, float]) -> np.ndarray:
    """The affine from slice, row and column to RAS mm of even slices.

    Args:
      places: `[n, 3]`, of their first pixels, LPS mm; turn: `[6]`, the directions of rows and
        columns; plane: the size of a pixel, row and column.
    """
    along, down = turn.reshape(2, 3)
    step = (places[-1] - places[0]) / (len(places) - 1)
    out = np.eye(4)
    out[:3] = np.stack([step, plane[0] * down, plane[1] * along, places[0]], 1)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ out  # the patient's axes in DICOM are LPS


def _turns(record: Any) -> np.ndarray:
    """The directions of rows and columns, of all frames or of each: `[n, 6]`."""
    groups = [g.ImageOrientationPatient for g in _frames(record, "PlaneOrientationSequence")]
    own = record.get("ImageOrientationPatient")
    return np.array(groups or ([own] if own else []), float).reshape(-1, 6)


def _places(record: Any, turns: np.ndarray) -> np.ndarray:
    """Where the first pixel of each frame lies, LPS mm: `[n, 3]`; `turns` as of `_turns`."""
    groups = [g.ImagePositionPatient for g in _frames(record, "PlanePositionSequence")]
    heights, first = record.get("GridFrameOffsetVector"), record.get("ImagePositionPatient")
    if groups or not heights or not first or not len(turns):
        return np.array(groups, float).reshape(-1, 3)
    along, down = turns[0].reshape(2, 3)  # a dose: offsets from the first, or heights themselves
    offsets = np.array(heights, float)
    return np.array(first, float) + (offsets - offsets[0])[:, None] * np.cross(along, down)

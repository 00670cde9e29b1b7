"""DICOM series: a volume whose slices are files of one folder."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from medjax.data import dicom, walk
from medjax.data.dicom import Slice
from medjax.data.found import Layout, RawImage, check_bytes
from medjax.errors import UserError

_TURNED = 1e-4  # in direction cosines, from which on slices are not parallel
_UNEVEN = 0.1  # share of the usual distance by which others may differ: headers are rounded
_SHOWN = 5  # series of a message


def read(folder: Path, files: Iterable[Path], *, limit_bytes: int, series: str = "") -> RawImage:
    """The volume `[slice, row, column, 1]` of a series, in the units of its modality, float32.

    Args:
      files: the DICOM files in the folder.
      limit_bytes: a volume that is larger is refused before its pixels are read.
      series: which one, where there are several: its description, number or UID.

    Raises:
      UserError: if there are several series and none is chosen, or slices of the one are missing,
        doubled, not parallel or of several sizes; it names the folder.
    """
    slices, where = _stack(folder, files, series)
    check_bytes(folder, 4 * int(np.prod(where.shape)), limit_bytes=limit_bytes)
    pixels = [dicom.read(s.path, limit_bytes=limit_bytes).pixels for s in slices]
    if any(p.shape[-1] != 1 for p in pixels):
        raise UserError(f"{folder}: a series of colour images; convert it")
    return RawImage(np.stack(pixels), where.spacing_mm, where.affine, where.axes)


def layout(folder: Path, files: Iterable[Path], *, series: str = "") -> Layout:
    """How it lies, by the headers of its files."""
    return _stack(folder, files, series)[1]


def fold(files: Iterable[Path], is_dicom: Callable[[Path], bool]) -> list[Path]:
    """The files, with folders in place of the DICOM slices in them: those that hold several, and no
    other images."""
    out: dict[Path, None] = {}
    by_folder: dict[Path, list[Path]] = {}
    for path in files:
        by_folder.setdefault(path.parent, []).append(path)
    for folder, paths in by_folder.items():
        out.update(dict.fromkeys([folder] if _are_slices(paths, is_dicom) else paths))
    return list(out)


def _are_slices(paths: Sequence[Path], is_dicom: Callable[[Path], bool]) -> bool:
    if len(paths) < 2 or not all(map(is_dicom, paths)):
        return False
    shown = [s for path in paths if (s := dicom.read_slice(path)).frames]
    return len(shown) > 1 and all(s.frames == 1 and s.place is not None for s in shown)


def _stack(folder: Path, files: Iterable[Path], series: str) -> tuple[list[Slice], Layout]:
    """The slices from one end to the other, and how they lie."""
    everything = [s for path in files if (s := dicom.read_slice(path)).frames == 1]
    if not everything:
        raise UserError(f"{folder}: is a folder without DICOM slices; give an image file")
    slices = _chosen(folder, everything, series)
    if len(slices) < 2:
        raise UserError(f"{folder}: a series of {len(slices)} slices; a volume has at least two")
    _check_alike(folder, slices)
    first = slices[0]
    assert first.turn is not None and first.plane_mm is not None
    normal = np.cross(*first.turn.reshape(2, 3))
    slices = sorted(slices, key=lambda s: float(np.dot(normal, s.place)))  # type: ignore[arg-type]
    places = np.array([s.place for s in slices])
    _check_even(folder, slices, places)
    affine = dicom.stacked(places, first.turn, first.plane_mm)
    step = float(np.linalg.norm(affine[:3, 0]))
    shape = (len(slices), *first.shape)
    types = {item.integer_type for item in slices}
    kind = types.pop() if len(types) == 1 else ""
    return slices, Layout(shape, (step, *first.plane_mm), affine, "zyx", kind)


def _chosen(folder: Path, slices: Sequence[Slice], series: str) -> list[Slice]:
    """The slices of the series that is meant."""
    by_uid: dict[str, list[Slice]] = {}
    for item in slices:
        by_uid.setdefault(item.uid, []).append(item)
    meant = [uid for uid, some in by_uid.items() if not series or series in some[0].names]
    if len(meant) == 1:
        return by_uid[meant[0]]
    known = [_called(some) for some in by_uid.values()]
    what = f"{len(meant)} series" if meant else "no series"
    wish = f" {series!r}" if series else ""
    raise UserError(
        f"{folder}: has {what}{wish}; choose one with `series`, by its description, number or UID: "
        f"{walk.such_as(known, most=_SHOWN)}"
    )


def _called(slices: Sequence[Slice]) -> str:
    uid, number, text = slices[0].names
    name = repr(text or number or uid)
    return f"{name}{f' (number {number})' if text and number else ''} of {len(slices)} slices"


def _check_alike(folder: Path, slices: Sequence[Slice]) -> None:
    """Raises UserError unless all slices say where they lie, are parallel and of one size."""
    first = slices[0]
    for item in slices:
        if item.place is None or item.turn is None or item.plane_mm is None:
            raise UserError(
                f"{item.path}: does not say where it lies (ImagePositionPatient, "
                "ImageOrientationPatient, PixelSpacing); a series needs it of each slice"
            )
        assert first.turn is not None and first.plane_mm is not None
        turned = np.abs(item.turn - first.turn).max() > _TURNED
        if turned or item.shape != first.shape or not np.allclose(item.plane_mm, first.plane_mm):
            raise UserError(
                f"{folder}: {item.path.name} differs from {first.path.name} in direction or size, "
                "as of a localiser: move it away, or choose another `series`"
            )


def _check_even(folder: Path, slices: Sequence[Slice], places: np.ndarray) -> None:
    """Raises UserError for slices at one place, for gaps, and for slices beside the others.

    Args:
      places: of the slices, `[n, 3]` in mm, in order.
    """
    vectors = np.diff(places, axis=0)
    steps = np.linalg.norm(vectors, axis=1)
    usual = float(np.median(steps))
    if (steps <= _UNEVEN * usual).any():
        i = int(np.argmin(steps))
        raise UserError(
            f"{folder}: {slices[i].path.name} and {slices[i + 1].path.name} lie at one place, as "
            "of several time points: move all but one of them away"
        )
    odd = np.flatnonzero(np.abs(steps - usual) > _UNEVEN * usual)
    if len(odd):
        i = int(odd[0])
        raise UserError(
            f"{folder}: {slices[i].path.name} and {slices[i + 1].path.name} are {steps[i]:.4g} mm "
            f"apart, others {usual:.4g} mm: is a slice missing? Give it, or resample the series"
        )
    if np.abs(vectors - np.median(vectors, 0)).max() > _UNEVEN * usual:
        raise UserError(f"{folder}: its slices do not lie along one line; convert it")

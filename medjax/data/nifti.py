"""NIfTI files, read to their end, and where they say that they lie.

A compressed file ends with a check sum that is compared only by who reads that far.
"""

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry
from medjax.data.found import Layout, RawImage, check_bytes
from medjax.data.pictures import exact_float32
from medjax.errors import UserError

_HEADERS = {348: 352, 540: 544}  # the size that the first field states, and what is to be read
_MM = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # by the code of the unit; 0 is unknown
_MS = {8: 1e3, 16: 1.0, 24: 1e-3}
_INTEGER_TYPES = tuple(map(np.dtype, ("uint8", "int8", "uint16", "int16")))
_VECTORS = range(1004, 1010)  # intent codes of matrices, vectors, points, triangles
_COLOURS = (2003, 2004)
_BEYOND = 2**20  # bytes behind the pixels that are read to reach the check sum, at a time
_APART = 0.01  # of a voxel, that two statements of one place may differ by


class Header(NamedTuple):
    """What the header of a file says.

    Attributes:
      parsed: by nibabel.
      shape: of the pixels, without axes of length one at the end.
      spacing_mm: of the axes in space.
      affine: from voxel to RAS mm, of three axes, where it says one.
      frame_ms: of a fourth axis, where it is known.
    """

    parsed: Any
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    affine: np.ndarray | None
    frame_ms: float | None


def read(path: Path, *, limit_bytes: int, stacked: bool = False) -> RawImage:
    """The image, float32 in the units of the file's own scaling.

    Args:
      stacked: a fourth axis, where there is one, holds channels.

    Raises:
      UserError: for what is damaged, no single image, of a type that float32 does not hold, or
        unclear about where it lies.
    """
    header, pixels = load(path, limit_bytes=limit_bytes)
    where = _layout(path, header, stacked=stacked)
    shape = (*where.shape, -1)
    return RawImage(pixels.reshape(shape), where.spacing_mm, where.affine, where.axes)


def layout(path: Path, *, stacked: bool = False) -> Layout:
    """The same without the pixels."""
    with _opened(path) as file:
        header, _ = _header(path, file)
    return _layout(path, header, stacked=stacked)


def _layout(path: Path, header: Header, *, stacked: bool) -> Layout:
    shape = header.shape[:3] if stacked and len(header.shape) == 4 else header.shape
    if len(shape) not in (2, 3):
        raise UserError(f"{path}: has {len(shape)} axes; one image has 2 or 3")
    return Layout(
        shape, header.spacing_mm, header.affine, "xyz"[: len(shape)], _integer_type(header.parsed)
    )


def _integer_type(parsed: Any) -> str:
    """As of `Layout`."""
    native = parsed.get_data_dtype().newbyteorder("=")
    slope, offset = parsed.get_slope_inter()
    plain = slope in (None, 1.0) and offset in (None, 0.0)
    return str(native) if plain and native in _INTEGER_TYPES else ""


def write(
    path: Path,
    values: np.ndarray,
    world: np.ndarray | None,
    *,
    kind: type,
    spacing_mm: Sequence[float] | np.ndarray = (),
) -> None:
    """Writes a volume `[i, j, k]`, compressed.

    Args:
      world: affine from voxels to RAS mm; None: the file states no orientation.
      kind: how a value is stored; one that is not whole is scaled to fit.
      spacing_mm: of a file without an orientation, where it is known.
    """
    import nibabel

    size = spacing_mm if len(spacing_mm) and np.isfinite(spacing_mm).all() else (1.0,) * 3
    image: Any = nibabel.Nifti1Image(values, np.diag([*size, 1.0]) if world is None else world)
    code = 0 if world is None else 1
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code, strip_shears=True)
    if not np.allclose(image.get_qform(), image.affine, atol=1e-3):
        image.set_qform(None, 0)  # of a sheared grid, which a qform cannot hold
    image.header.set_xyzt_units("mm")
    image.header.set_data_dtype(kind)
    nibabel.save(image, path)


def write_vectors(path: Path, vectors: np.ndarray, world: np.ndarray) -> None:
    """Writes vectors `[i, j, k, ndim]` of each voxel, compressed, as ITK reads them: along a fifth
    axis, with the intent of vectors.

    Args:
      world: affine from voxels to RAS mm.
    """
    import nibabel

    image: Any = nibabel.Nifti1Image(vectors.astype(np.float32)[..., None, :], world)
    image.set_sform(world, 1)
    image.set_qform(world, 1, strip_shears=True)
    image.header.set_xyzt_units("mm")
    image.header.set_intent("vector")
    nibabel.save(image, path)


def header_of(path: Path, *, timed: bool = False) -> Header:
    """What the header says, of a file with any number of axes.

    Args:
      timed: the last axis is time: of three axes two lie in space.
    """
    with _opened(path) as file:
        return _header(path, file, timed=timed)[0]


def load(path: Path, *, limit_bytes: int, timed: bool = False) -> tuple[Header, np.ndarray]:
    """Header and scaled pixels, of a file with any number of axes; `timed` as of `header_of`."""
    import nibabel

    with _opened(path) as file:
        header, begun = _header(path, file, timed=timed)
        parsed = header.parsed
        size, offset = int(np.prod(parsed.get_data_shape())), int(parsed.get_data_offset())
        stored = parsed.get_data_dtype()
        check_bytes(path, size * max(4, stored.itemsize), limit_bytes=limit_bytes)
        full_header = _without_extensions(begun) + _exactly(
            path, file, offset + size * stored.itemsize - len(begun)
        )
        _to_the_end(path, file, limit_bytes=limit_bytes)
    kind = nibabel.Nifti2Image if parsed["sizeof_hdr"] == 540 else nibabel.Nifti1Image
    image: Any = kind.from_bytes(full_header)
    if stored.kind in "iu" and stored.itemsize > 2 and image.dataobj.slope == 1:
        exact_float32(image.dataobj.get_unscaled(), path)
    return header, np.asarray(image.dataobj, np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        yield file


def _header(path: Path, file: Any, *, timed: bool = False) -> tuple[Header, bytes]:
    """The header, and what has been read of the file."""
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    begun = file.read(4)
    size = next(
        (n for n in _HEADERS for order in ("little", "big") if int.from_bytes(begun, order) == n),
        None,
    )  # type: ignore[arg-type]
    if size is None:
        raise UserError(f"{path}: no NIfTI file; its first bytes are not those of one")
    begun += _exactly(path, file, _HEADERS[size] - 4)
    _check_offset(path, begun, size)
    kind: Any = nibabel.Nifti2Header if size == 540 else nibabel.Nifti1Header
    with LoggingOutputSuppressor():  # what it raises says the same
        parsed = kind.from_fileobj(io.BytesIO(_without_extensions(begun)))
    _check_kind(path, parsed, size)
    shape = parsed.get_data_shape()
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    unit, step = int(parsed["xyzt_units"]) & 7, int(parsed["xyzt_units"]) & 56
    if unit not in _MM or 0 in shape:
        raise UserError(
            f"{path}: states sides of {_sizes(np.array(shape))} voxels in a unit of "
            f"the code {unit}; the header is damaged"
        )
    scale, flat = _MM[unit], timed and len(parsed.get_data_shape()) < 4
    space = 2 if flat else min(len(shape), 3)
    zooms = np.abs(np.array(parsed.get_zooms(), float))
    affine = None if flat else _affine(path, parsed, scale)
    spacing = scale * zooms if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    known = tuple(float(s) for s in spacing[:space]) if (spacing[:space] > 0).all() else None
    frame_ms = float(zooms[-1]) * _MS[step] if step in _MS and zooms[-1] > 0 else None
    return Header(parsed, tuple(shape), known, affine, frame_ms), begun


def _check_kind(path: Path, parsed: Any, size: int) -> None:
    """Raises UserError for types that no gray image of float32 has, and impossible offsets."""
    dtype, intent = parsed.get_data_dtype(), int(parsed["intent_code"])
    colour = dtype.fields is not None or intent in _COLOURS
    what = (
        "complex"
        if dtype.kind == "c"
        else "colour"
        if colour
        else "long double"
        if dtype.kind == "f" and dtype.itemsize > 8
        else "vector"
        if intent in _VECTORS
        else ""
    )
    if what:
        raise UserError(
            f"{path}: holds {what} values; an image has one real number a voxel: convert it"
        )


def _without_extensions(begun: bytes) -> bytes:
    """The header with the mark taken away that extensions follow: nobody here reads them."""
    return begun[:-4] + bytes(4)


def _check_offset(path: Path, begun: bytes, size: int) -> None:
    """Raises UserError for pixels inside the header, before nibabel has words of its own."""
    order = "<" if int.from_bytes(begun[:4], "little") == size else ">"
    place, dtype = (168, "i8") if size == 540 else (108, "f4")
    offset = float(np.frombuffer(begun, order + dtype, 1, place)[0])
    if not _HEADERS[size] <= offset < 2**40:
        raise UserError(
            f"{path}: its pixels would begin at byte {offset:.0f}, inside the header "
            "or nowhere; the file is damaged"
        )


def _affine(path: Path, parsed: Any, scale: float) -> np.ndarray | None:
    """From voxel to RAS mm; None where the file states no orientation.

    Raises:
      UserError: if sform, qform and the sizes of voxels place a voxel differently.
    """
    sform, by_s = parsed.get_sform(coded=True)
    qform, by_q = parsed.get_qform(coded=True)
    corners = np.array([*parsed.get_data_shape(), 1, 1][:3]) - 1.0
    for affine in ([sform] if by_s else []) + ([qform] if by_q else []):
        geometry.check_affine(affine, origin=str(path))
    if (
        by_s
        and by_q
        and _apart(sform, qform, corners) > _APART
        and _apart(_as_qform(parsed, sform), qform, corners) > _APART
    ):
        raise UserError(
            f"{path}: its sform (code {by_s}) and qform (code {by_q}) place it up to "
            f"{scale * _most(sform, qform, corners):.3g} mm apart; write the right one into both"
        )
    if by_s:
        norms, zooms = np.linalg.norm(sform[:3, :3], axis=0), np.abs(parsed["pixdim"][1:4])
        stated = zooms > 0
        if (np.abs(norms - zooms) * np.maximum(corners, 1) > _APART * norms)[stated].any():
            raise UserError(
                f"{path}: its sform says voxels of {_sizes(scale * norms)} mm, its pixdim "
                f"{_sizes(scale * zooms)} mm; write the right one into both"
            )
    chosen = sform if by_s else qform if by_q else None
    return None if chosen is None else np.diag([scale] * 3 + [1.0]) @ chosen


def _as_qform(parsed: Any, sform: np.ndarray) -> np.ndarray:
    """The sform as a qform would store it: a quaternion has few digits for some rotations."""
    other = parsed.copy()
    try:
        other.set_qform(sform, code=1, strip_shears=False)
    except Exception:  # sheared, or no affine at all: then it is none
        return np.full((4, 4), np.inf)
    return other.get_qform()


def _apart(a: np.ndarray, b: np.ndarray, corners: np.ndarray) -> float:
    """The largest distance of a corner of the volume, voxels."""
    return _most(a, b, corners) / max(np.linalg.norm(a[:3, :3], axis=0).min(), 1e-12)


def _most(a: np.ndarray, b: np.ndarray, corners: np.ndarray) -> float:
    points = np.stack(np.meshgrid(*((0.0, c) for c in corners)), -1).reshape(-1, len(corners))
    away = points @ (a - b)[:3, : len(corners)].T + (a - b)[:3, 3]
    return float(np.linalg.norm(away, axis=1).max())


def _sizes(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)


def _exactly(path: Path, file: Any, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise UserError(f"{path}: is truncated: {count - len(content)} bytes are missing")
    return content


def _to_the_end(path: Path, file: Any, *, limit_bytes: int) -> None:
    """Reads what is behind the pixels, so that the check sum is compared."""
    behind = 0
    while part := file.read(_BEYOND):
        behind += len(part)
        if behind > limit_bytes:
            raise UserError(f"{path}: more than {limit_bytes / 1e9:g} GB stand behind its pixels")

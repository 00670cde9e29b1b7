"""One image with its points, where it comes from, and the set that it belongs to."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry, images, placing, slicer, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.metadata import Metadata
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError


class LandmarkCase(NamedTuple):
    """One image with its points, before its pixels are read.

    Attributes:
      read: the image.
      points: by landmark; in `system`: voxel (order of the array), pixel (x, y[, z] of the file),
        or LPS or RAS mm; or mm, in the world of a picture.
      subject: empty where nothing says who it is.
      spacing_mm: of every axis, where the file does not tell it.
      path: the file of the image; None where it is made.
    """

    read: Callable[[], images.RawImage]
    origin: str
    case_id: str
    subject: str
    split: str | None
    points: Mapping[str, Sequence[float]]
    system: str
    spacing_mm: float | None = None
    metadata: Mapping[str, str] = {}
    path: Path | None = None


class LandmarkSet(NamedTuple):
    """The cases, and the grid that every image is brought to where no other is asked for.

    Attributes:
      known_by: how subjects are known, where a table says it; see `subjects.resolve`. A set whose
        `info` says it knows them all.
      notes: what is worth knowing about it.
    """

    info: DatasetInfo
    cases: list[LandmarkCase]
    shape: tuple[int, ...]
    grid_mm: float
    known_by: str = ""
    notes: tuple[str, ...] = ()


def from_file(
    root: Path,
    path: Path,
    *,
    points: Mapping,
    system: str,
    subject: str = "",
    split: str | None = None,
    spacing_mm: float | None = None,
    metadata: Mapping[str, str] | None = None,
    limit_bytes: int = images.LIMIT_BYTES,
) -> LandmarkCase:
    """A case whose image is a file below `root`; voxels i, j, k are its x, y, z, in whatever order
    its reader has the axes."""
    return LandmarkCase(
        functools.partial(images.read, path, limit_bytes=limit_bytes),
        str(path),
        path.relative_to(root).as_posix(),
        subject,
        split,
        points,
        "pixel" if system in ("voxel", "IJK") else system,
        spacing_mm,
        metadata or {},
        path,
    )


def find_image(root: Path, options: LandmarkOptions, name: str, origin: str) -> Path:
    """The file of an image, with or without its suffix in the table."""
    return table.FileIndex(root, options, suffixes=images.SUFFIXES, what="image").find(
        name, origin=origin
    )


def from_lists(root: Path, options: LandmarkOptions) -> tuple[list[LandmarkCase], str, list[str]]:
    """The images below `root` that have a list of 3D Slicer of their name beside them.

    Returns:
      The cases, how their subjects are known, and notes.

    Raises:
      UserError: if some images have no list and some lists no image: they may belong together.
    """
    images_, left_out = walk.find(root, images.is_image)
    lists = walk.find(root, slicer.is_list).files
    of_image = {path: _lists_of(path, lists) for path in images_}
    more, cases = Metadata(root, options), []
    for path, own in of_image.items():
        if len(own) > 1:
            raise UserError(f"{path}: has both {own[0].name} and {own[1].name}; keep one")
        if own:
            points, system = slicer.read(own[0])
            cases.append(
                from_file(
                    root,
                    path,
                    points=points,
                    system=system,
                    limit_bytes=options.limit_bytes,
                    **more.describe_image(path),
                )
            )
    used = [own[0] for own in of_image.values() if own]
    twice = next((p for p in used if used.count(p) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: belongs to more than one image; give each its own list")
    slicer.check_names(used)
    notes = _partners(
        [p for p, own in of_image.items() if not own], [p for p in lists if p not in used], root
    )
    others = [n for n in left_out if n not in (".json", ".fcsv", ".csv")]
    notes += walk.note_left_out(Counter({n: left_out[n] for n in others}))
    return cases, more.known_by(), [*notes, *more.notes()]


def _lists_of(path: Path, lists: Sequence[Path]) -> list[Path]:
    """The lists beside an image that have its name, whatever the case of their suffix."""
    stem = images.stem(path)
    return [
        p
        for p in lists
        if p.parent == path.parent
        and any(
            p.name == stem + p.name[-len(s) :]
            for s in slicer.SUFFIXES
            if p.name.lower().endswith(s)
        )
    ]


def _partners(alone: list[Path], lists: list[Path], root: Path) -> list[str]:
    images_, lists_ = ([p.relative_to(root).as_posix() for p in some] for some in (alone, lists))
    notes = [
        *walk.note_of(images_, "image", "without a list left out"),
        *walk.note_of(lists_, "list", "without an image left out"),
    ]
    if len(notes) == 2:
        raise UserError(f"{root}: {'; '.join(notes)}; a list has the name of its image")
    return notes


def index_of(
    point: Any, case: LandmarkCase, raw_image: images.RawImage, world: np.ndarray
) -> np.ndarray:
    """A point of the case as an index into the stored array; NaN where there is none."""
    ndim = raw_image.pixels.ndim - 1
    if point is None:
        return np.full(ndim, np.nan)
    given = np.asarray(point, float)
    if len(given) != ndim:
        raise UserError(
            f"{case.origin}: has {ndim} axes but its landmarks have {len(given)}; "
            "give the landmarks of this image"
        )
    if case.system == "voxel":
        return given
    if case.system == "pixel":
        return geometry.apply(np.linalg.inv(placing.file_order(raw_image)), given)
    if case.system in geometry.SYSTEMS:
        if raw_image.affine is None or ndim != 3:
            raise UserError(f"{case.origin}: landmarks in {case.system} mm need a NIfTI volume")
        given = geometry.ras(given, case.system)
    return geometry.apply(np.linalg.inv(world), given)


def world_points(case: LandmarkCase, names: tuple[str, ...]) -> np.ndarray:
    """The points of a case in mm of the world: `[landmark, ndim]`, NaN where missing."""
    raw_image = case.read()
    world = placing.world_of(raw_image, spacing_mm=case.spacing_mm, origin=case.origin)
    return geometry.apply(
        world, np.array([index_of(case.points.get(name), case, raw_image, world) for name in names])
    )

"""One image with its points, where it comes from, and the set that it belongs to."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry, images, landmark_table, placing, slicer, table
from medjax.data.info import DatasetInfo
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError


class Case(NamedTuple):
    """One image with its points, before its pixels are read.

    Attributes:
      read: the image.
      points: by landmark; in `system`: voxel (order of the array), pixel (x, y[, z] of the file),
        or LPS or RAS mm; or mm, in the world of a picture.
      spacing_mm: of every axis, where the file does not tell it.
    """

    read: Callable[[], images.Found]
    origin: str
    case_id: str
    subject: str
    split: str | None
    points: Mapping[str, Sequence[float]]
    system: str
    spacing_mm: float | None = None
    metadata: Mapping[str, str] = {}


class LandmarkSet(NamedTuple):
    """The cases, and the grid that every image is brought to where no other is asked for."""

    info: DatasetInfo
    cases: list[Case]
    shape: tuple[int, ...]
    grid_mm: float


def from_file(root: Path, path: Path, *, points: Mapping, system: str, subject: str = "",
              split: str | None = None, spacing_mm: float | None = None,
              metadata: Mapping[str, str] | None = None) -> Case:
    """A case whose image is a file below `root`."""
    name = path.relative_to(root).as_posix()
    return Case(functools.partial(images.read, path), str(path), name, subject or name, split,
                points, system, spacing_mm, metadata or {})


def find_image(root: Path, options: LandmarkOptions, name: str, origin: str) -> Path:
    """The file of an image, with or without its suffix in the table."""
    return table.find_file(root, options, name, suffixes=images.SUFFIXES, what="image",
                           origin=origin)


def read_metadata(root: Path, options: LandmarkOptions) -> dict[str, dict[str, str]]:
    """The rows of `metadata.csv` by image; none where there is no such file."""
    path = root / "metadata.csv"
    if not path.exists():
        return {}
    rows = table.read_rows(path)
    wish = options.path_column if options.path_column in rows[0] else ""
    key = landmark_table.image_column(path, rows[0], wish)
    return {row[key]: row for row in rows}


def said_of(row: table.Row, options: LandmarkOptions, *, origin: str) -> dict[str, Any]:
    """Subject, split and spacing, as the row of an image has them, for `from_file`."""
    return {"subject": row.get(options.subject_column, ""),
            "split": table.split_of(row, options.split_column, origin=origin),
            "spacing_mm": table.positive(row.get(options.spacing_column), origin=origin,
                                         what="mm of a pixel")}


def from_lists(root: Path, options: LandmarkOptions) -> list[Case]:
    """The images below `root` that have a list of 3D Slicer of their name beside them."""
    more = read_metadata(root, options)
    cases = []
    for path in sorted(p for p in root.rglob("*") if images.suffix(p) in images.SUFFIXES):
        stem = path.name[: -len(images.suffix(path))]
        lists = [path.with_name(stem + s) for s in slicer.SUFFIXES]
        present = [p for p in lists if p.exists()]
        if len(present) > 1:
            raise UserError(f"{path}: has both {present[0].name} and {present[1].name}; keep one")
        if present:
            points, system = slicer.read(present[0])
            name = path.relative_to(root).as_posix()
            cases.append(from_file(
                root, path, points=points, system="voxel" if system == "IJK" else system,
                **said_of(more.get(name, {}), options, origin=name)))
    return cases


def index_of(point: Any, case: Case, found: images.Found, world: np.ndarray) -> np.ndarray:
    """A point of the case as an index into the stored array; NaN where there is none."""
    ndim = found.pixels.ndim - 1
    if point is None:
        return np.full(ndim, np.nan)
    given = np.asarray(point, float)
    if len(given) != ndim:
        raise UserError(f"{case.origin}: has {ndim} axes but its landmarks have {len(given)}; "
                        "give the landmarks of this image")
    if case.system == "voxel":
        return given
    if case.system == "pixel":
        return geometry.apply(np.linalg.inv(placing.file_order(found)), given)
    if case.system in geometry.SYSTEMS:
        if found.affine is None:
            raise UserError(f"{case.origin}: landmarks in {case.system} mm need a NIfTI volume")
        given = geometry.ras(given, case.system)
    return geometry.apply(np.linalg.inv(world), given)


def world_points(case: Case, names: tuple[str, ...]) -> np.ndarray:
    """The points of a case in mm of the world: `[landmark, ndim]`, NaN where missing."""
    found = case.read()
    world = placing.world_of(found, spacing_mm=case.spacing_mm, origin=case.origin)
    return geometry.apply(world, np.array([
        index_of(case.points.get(name), case, found, world) for name in names]))

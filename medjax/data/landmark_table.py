"""Landmarks in a CSV file, long (a row a landmark) or wide (a row an image).

Column names say what coordinates are: `i, j, k` are voxel indices; `x, y[, z]` are pixels of a
picture; `x_lps_mm, ...` and `x_ras_mm, ...` are millimetres in the world. In wide form each stands
behind the landmark's name: `nasion_x, nasion_y`. Millimetres that say neither LPS nor RAS have to
be declared.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

from medjax.data import table
from medjax.errors import UserError, unknown

PATHS = ("path", "image", "volume", "case", "file")
NAMES = ("landmark", "name", "label", "afid")
SYSTEMS = ("voxel", "pixel", "LPS", "RAS")
_COLUMN = re.compile(
    r"(?:(?P<name>.+)_)?(?P<axis>[xyz]|[ijk])(?:_(?P<world>lps|ras))?(?P<mm>_mm)?", re.IGNORECASE
)

# How names end that have an axis too, and are no landmark: pixel_spacing_x, image_size_y.
_NO_LANDMARKS = ("spacing", "size", "resolution", "shape")


class LandmarkRow(NamedTuple):
    """One image of the table: its points in `system`, and its rows."""

    points: dict[str, tuple[float, ...]]
    system: str
    rows: list[table.TableRow]

    @property
    def row(self) -> table.TableRow:
        return self.rows[0]


def image_column(path: Path, row: table.TableRow, wish: str) -> str:
    """The column of the images; raises UserError where there is none."""
    return table.column(path, row, wish=wish, usual=PATHS, what="images", option="path_column")


def read(
    path: Path, *, path_column: str = "", name_column: str = "", coordinates: str = "", ndim: int
) -> dict[str, LandmarkRow]:
    """The entries by image.

    Args:
      path_column, name_column: their names, or empty for the first of the usual ones.
      coordinates: voxel, pixel, LPS or RAS, where the columns do not say, or to choose one of
        several.
      ndim: axes of the images.

    Raises:
      UserError: for columns that are missing or unclear, and for what stands twice or is no number;
        it names the line.
    """
    if coordinates and coordinates not in SYSTEMS:
        raise unknown("value of `coordinates`", coordinates, SYSTEMS)
    rows = table.read_rows(path)
    key = image_column(path, rows[0], path_column)
    groups = _groups(path, list(rows[0]), ndim)
    long = "" in {name for name, _ in groups}
    system = _choose(path, {s for name, s in groups if not long or name == ""}, coordinates, ndim)
    source = _source({s for _, s in groups}, system)
    chosen = {name: c for (name, s), c in groups.items() if s == source and (name == "") == long}
    lost = {name for name, _ in groups} - set(chosen) - {""}
    if lost and not long:
        raise UserError(
            f"{path}: {min(lost)} has no {system} coordinates where other landmarks "
            "have them; give all in one system"
        )
    title = (
        table.column(
            path, rows[0], wish=name_column, usual=NAMES, what="landmarks", option="name_column"
        )
        if long
        else ""
    )
    rows_by_image: dict[str, LandmarkRow] = {}
    for row in rows:
        image = row[key]
        if not image:
            raise UserError(f"{row.origin}: names no image")
        if not long and image in rows_by_image:
            raise UserError(
                f"{row.origin}: {image} stands in the table twice, first in "
                f"{rows_by_image[image].row.origin}"
            )
        entry = rows_by_image.setdefault(image, LandmarkRow({}, system, []))
        entry.rows.append(row)
        for name, columns in chosen.items():
            label = row[title] if long else name
            if not label:
                raise UserError(f"{row.origin}: names no landmark")
            label = table.tidy(label)
            if label in entry.points:
                raise UserError(
                    f"{row.origin}: the landmark {label!r} of {image} stands in the table twice"
                )
            entry.points[label] = _numbers([row[c] for c in columns], row.origin, label)
    return rows_by_image


def _groups(path: Path, columns: list[str], ndim: int) -> dict[tuple[str, str], list[str]]:
    """(landmark or "", system) to its coordinate columns; `mm` are of no known system, `world` are
    x, y, z of volumes, which may be anything.

    Raises:
      UserError: if a landmark has some of its columns, but not all.
    """
    groups: dict[tuple[str, str], dict[str, str]] = {}
    for column in columns:
        match = _COLUMN.fullmatch(column)
        if match and not table.plain(match["name"] or "").endswith(_NO_LANDMARKS):
            letter = match["axis"].lower()
            voxel = letter in "ijk"
            axis = "xyz"["ijk".index(letter)] if voxel else letter
            bare = "mm" if match["mm"] else "world" if ndim == 3 else "pixel"
            system = (match["world"] or "").upper() or ("voxel" if voxel else bare)
            groups.setdefault((match["name"] or "", system), {})[axis] = column
    needed = set("xyz"[:ndim])
    complete = {
        group: [axes[a] for a in "xyz"[:ndim]]
        for group, axes in groups.items()
        if needed <= set(axes)
    }
    systems = {system for _, system in complete}
    long = "" in {name for name, _ in complete}  # other columns of it are no points
    for (name, system), axes in groups.items():
        lacking = needed - set(axes)
        if lacking and name and system in systems and not long:
            raise UserError(
                f"{path}: the column {next(iter(axes.values()))} has no partner for "
                f"{', '.join(sorted(lacking))}; half a landmark is none"
            )
    return complete


def _source(systems: set[str], wish: str) -> str:
    """The columns that hold coordinates of that system: its own before those that do not say."""
    unclear = ("mm", "world") if wish in ("LPS", "RAS") else ("world", "mm")
    return next((s for s in (wish, *unclear) if s in systems), "")


def _choose(path: Path, systems: set[str], wish: str, ndim: int) -> str:
    if wish and _source(systems, wish):
        return wish
    if wish:
        raise UserError(
            f"{path}: no {ndim}-D columns of {wish} coordinates; found "
            f"{', '.join(sorted(systems)) or 'none'}"
        )
    for system in ("voxel", "pixel", "RAS", "LPS"):
        if system in systems:
            return system
    if "mm" in systems and ndim == 2:
        raise UserError(
            f"{path}: points of pictures are given in pixels, in the columns x and y "
            "(NAME_x, NAME_y), not in mm"
        )
    if systems & {"mm", "world"}:
        raise UserError(
            f"{path}: x, y, z of volumes can be LPS or RAS millimetres or voxels; say "
            "which: `coordinates=LPS`, RAS, pixel or voxel, or call the columns "
            "x_lps_mm, x_ras_mm or i, j, k"
        )
    raise UserError(
        f"{path}: no columns of {ndim}-D coordinates (x, y{', z' * (ndim == 3)}, or "
        "behind a landmark's name NAME_x, ...); are the images of another dimension?"
    )


def _numbers(texts: list[str], origin: str, label: str) -> tuple[float, ...]:
    """Numbers; all empty, or all "nan", means missing."""
    empty = [text.lower() in ("", "nan", "na", "n/a") for text in texts]
    if all(empty):
        return (math.nan,) * len(texts)
    if any(empty):
        raise UserError(
            f"{origin}: of the landmark {label!r} {sum(empty)} of {len(texts)} "
            "coordinates are empty; give all or none"
        )
    try:
        numbers = tuple(float(t) for t in texts)
    except ValueError:
        numbers = (math.inf,)
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"{origin}: {', '.join(texts)!r} are no coordinates")
    return numbers

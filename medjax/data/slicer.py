"""Point lists of 3D Slicer: `.mrk.json` and the older `.fcsv`.

A list is RAS, LPS or, in `.fcsv` only, IJK (voxel indices of a volume).
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data.table import tidy
from medjax.errors import UserError

SUFFIXES = (".mrk.json", ".fcsv")
Points = dict[str, tuple[float, float, float]]  # NaN where a point is not placed
_NUMBERS = {"0": "RAS", "1": "LPS", "2": "IJK"}  # as files of Slicer up to 4.10 have it
_MM = {"mm": 1.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "cm": 10.0, "m": 1e3}
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    "Resources/Schema/markups-schema-v1.0.3.json#"
)
_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
_FIELDS = 16  # of a row of Slicer 5, whatever its header names
_STATUS, _DEFINED = 14, "2"  # of a field that the header of Slicer 5 does not name


class Point(NamedTuple):
    """A row of a list; NaN where it is not placed."""

    label: str
    description: str
    place: tuple[float, float, float]


def is_list(path: Path) -> bool:
    """Whether the name is that of a list, whatever the case of its suffix."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path) -> tuple[Points, str]:
    """The points by name, in mm or voxels, and their system: RAS, LPS or IJK.

    Where labels are mere numbers the description is the name, as AFIDs files have it.

    Raises:
      UserError: if the file is not of its kind, names no system, or has a name twice.
    """
    rows, system = _rows(path)
    described = _described(path, rows)
    points: Points = {}
    for row in rows:
        name = row.description if described else row.label
        if not name:
            raise UserError(f"{path}: a point has no label")
        if name in points:
            raise UserError(f"{path}: the landmark {name!r} stands in it twice")
        points[name] = row.place
    return points, system


def check_names(paths: Sequence[Path]) -> None:
    """Raises UserError if some lists of a set are named by descriptions and others by numbers."""
    by: dict[bool, Path] = {}
    for path in paths:
        rows, _ = _rows(path)
        if rows and all(row.label.isdigit() for row in rows):
            by.setdefault(_described(path, rows), path)
    if len(by) == 2:
        raise UserError(
            f"{by[True]}: its landmarks are named by descriptions, those of {by[False]}"
            " only by numbers; describe the points of all lists, or of none"
        )


def _described(path: Path, rows: Sequence[Point]) -> bool:
    """Whether descriptions are the names; raises UserError if only some numbers have one."""
    if not rows or not all(row.label.isdigit() for row in rows):
        return False
    lacking = [row.label for row in rows if not row.description]
    if 0 < len(lacking) < len(rows):
        raise UserError(
            f"{path}: the point {lacking[0]!r} has no description where others have "
            "one, by which they are named; describe all or none"
        )
    return not lacking


def _rows(path: Path) -> tuple[list[Point], str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows, system = (_read_json if path.name.lower().endswith(".json") else _read_fcsv)(
            text, path
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        RecursionError,
        csv.Error,
    ) as e:
        why = str(e) if isinstance(e, (OSError, ValueError)) else "a field is missing, or odd"
        raise UserError(f"{path}: not a point list of 3D Slicer ({why})") from None
    system = _NUMBERS.get(system, system)
    if system not in _NUMBERS.values():
        raise UserError(
            f"{path}: does not say whether its coordinates are RAS or LPS "
            f"(coordinate system {system!r}); save it again in 3D Slicer"
        )
    return rows, system


def _read_json(text: str, path: Path) -> tuple[list[Point], str]:
    markups = json.loads(text)["markups"]
    lists = [m for m in markups if m["type"] == "Fiducial"]
    if len(lists) != 1:
        kinds = ", ".join(str(m["type"]) for m in markups) or "nothing"
        raise UserError(
            f"{path}: holds {len(lists)} point lists where there should be one (it "
            f"has {kinds}); save each list in a file of its own"
        )
    (markup,) = lists
    unit = markup.get("coordinateUnits", "mm")
    if unit not in _MM:
        raise UserError(f"{path}: its coordinates are in {unit!r}; known are {', '.join(_MM)}")
    return [_json_point(p, _MM[unit]) for p in markup["controlPoints"]], str(
        markup.get("coordinateSystem", "")
    )


def _json_point(point: Mapping[str, Any], scale: float) -> Point:
    placed = point.get("positionStatus", "defined") == "defined"
    x, y, z = point["position"] if placed else (math.nan,) * 3
    return Point(
        tidy(point["label"]),
        tidy(point.get("description", "")),
        _place((scale * float(x), scale * float(y), scale * float(z)), placed),
    )


def _place(place: tuple[float, float, float], placed: bool) -> tuple[float, float, float]:
    if placed and not all(map(math.isfinite, place)):
        raise ValueError("a placed point has no finite coordinates")
    return place


def _read_fcsv(text: str, path: Path) -> tuple[list[Point], str]:
    lines = text.splitlines()
    head = [line[1:].split("=", 1) for line in lines if line.startswith("#") and "=" in line]
    facts = {key.strip(): value.strip() for key, value in head}
    columns = [c.strip() for c in facts.get("columns", _COLUMNS).split(",")]
    at = {
        name: columns.index(name) if name in columns else None
        for name in ("x", "y", "z", "label", "desc")
    }
    body = [line for line in lines if line.strip() and not line.startswith("#")]
    rows = csv.reader(body, skipinitialspace=True)
    points = [_fcsv_point(cells, at, len(columns)) for cells in rows]
    return points, facts.get("CoordinateSystem", "")


def _fcsv_point(cells: list[str], at: Mapping[str, int | None], width: int) -> Point:
    def cell(name: str) -> str:
        place = at[name]
        if place is None:
            if name == "desc":  # files of Slicer 3 have none
                return ""
            raise ValueError(f"no column {name}")
        return tidy(cells[place])

    if len(cells) > width and len(cells) != _FIELDS:
        raise ValueError(
            f"a row has {len(cells)} fields, more than {width}; are its decimals "
            "written with commas?"
        )
    placed = len(cells) <= _STATUS or cells[_STATUS].strip() in ("", _DEFINED)
    place = (float(cell("x")), float(cell("y")), float(cell("z"))) if placed else (math.nan,) * 3
    return Point(cell("label"), cell("desc"), _place(place, placed))


def write_json(path: Path, points: Mapping[str, Iterable[float]], *, system: str = "LPS") -> None:
    """Writes `points` (mm, of that system) as `.mrk.json`; NaN is a point that is not placed."""
    rows = []
    for number, (name, point) in enumerate(points.items(), start=1):
        x, y, z = (float(v) for v in point)
        placed = not math.isnan(x + y + z)
        rows.append(
            {
                "id": str(number),
                "label": name,
                "description": "",
                "position": [x, y, z] if placed else [0.0, 0.0, 0.0],
                "positionStatus": "defined" if placed else "undefined",
            }
        )
    path.write_text(
        json.dumps(
            {
                "@schema": _SCHEMA,
                "markups": [
                    {
                        "type": "Fiducial",
                        "coordinateSystem": system,
                        "coordinateUnits": "mm",
                        "controlPoints": rows,
                    }
                ],
            },
            indent=1,
        )
        + "\n"
    )


def write_fcsv(path: Path, points: Mapping[str, Iterable[float]], *, system: str = "LPS") -> None:
    """Writes `points` as `.fcsv` with the 16 fields of Slicer 5; NaN is a point not placed."""
    lines = [
        "# Markups fiducial file version = 5.6",
        f"# CoordinateSystem = {system}",
        f"# columns = {_COLUMNS}",
    ]
    for number, (name, point) in enumerate(points.items(), start=1):
        x, y, z = (float(v) for v in point)
        placed = not math.isnan(x + y + z)
        place = [repr(v) if placed else "0" for v in (x, y, z)]
        label = '"{}"'.format(name.replace('"', '""')) if set(name) & set(',"') else name
        lines.append(
            ",".join(
                [
                    str(number),
                    *place,
                    "0,0,0,1,1,1,0",
                    label,
                    "",
                    "",
                    _DEFINED if placed else "0",
                    "0",
                ]
            )
        )
    path.write_text("\n".join(lines) + "\n")

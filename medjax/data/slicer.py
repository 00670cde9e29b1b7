"""Point lists of 3D Slicer: `.mrk.json` and the older `.fcsv`.

A list is RAS, LPS or, in `.fcsv` only, IJK (voxel indices of a volume).
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from medjax.errors import UserError

SUFFIXES = (".mrk.json", ".fcsv")
Points = dict[str, tuple[float, float, float]]  # NaN where a point is not placed
_NUMBERS = {"0": "RAS", "1": "LPS", "2": "IJK"}  # as files of Slicer up to 4.10 have it
_SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
           "Resources/Schema/markups-schema-v1.0.3.json#")
_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def read(path: Path) -> tuple[Points, str]:
    """The points by name, and their system: RAS, LPS or IJK.

    Where labels are mere numbers the description is the name, as AFIDs files have it.

    Raises:
      UserError: if the file is not of its kind, names no system, or has a name twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows, system = (_read_json if path.name.endswith(".json") else _read_fcsv)(text)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as e:
        raise UserError(f"{path}: not a point list of 3D Slicer ({type(e).__name__}: {e})"
                        ) from None
    system = _NUMBERS.get(system, system)
    if system not in _NUMBERS.values():
        raise UserError(f"{path}: coordinate system {system!r}; it must say RAS or LPS")
    described = all(name.isdigit() and text for name, text, _ in rows)
    named = [(text if described else name, point) for name, text, point in rows]
    found: Points = {}
    for name, point in named:
        if name in found:
            raise UserError(f"{path}: the landmark {name!r} stands in it twice")
        found[name] = point
    return found, system


def _read_json(text: str) -> tuple[list, str]:
    (markup,) = [m for m in json.loads(text)["markups"] if m["type"] == "Fiducial"]
    rows = []
    for point in markup["controlPoints"]:
        placed = point.get("positionStatus", "defined") == "defined"
        x, y, z = point["position"] if placed else (math.nan,) * 3
        rows.append((point["label"], point.get("description", ""), (float(x), float(y), float(z))))
    return rows, markup["coordinateSystem"]


def _read_fcsv(text: str) -> tuple[list, str]:
    lines = text.splitlines()
    head = [line[1:].split("=", 1) for line in lines if line.startswith("#") and "=" in line]
    facts = {key.strip(): value.strip() for key, value in head}
    columns = facts.get("columns", _COLUMNS).split(",")
    at = [columns.index(c) for c in ("x", "y", "z", "label", "desc")]
    rows = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            x, y, z, label, text = (line.split(",")[i] for i in at)
            rows.append((label, text, (float(x), float(y), float(z))))
    return rows, facts["CoordinateSystem"]


def write_json(path: Path, points: Mapping[str, Iterable[float]], *, system: str = "LPS") -> None:
    """Writes `points` (mm, of that system) as `.mrk.json`; NaN is a point that is not placed."""
    rows = []
    for number, (name, point) in enumerate(points.items(), start=1):
        x, y, z = (float(v) for v in point)
        placed = not math.isnan(x + y + z)
        rows.append({"id": str(number), "label": name, "description": "",
                     "position": [x, y, z] if placed else [0.0, 0.0, 0.0],
                     "positionStatus": "defined" if placed else "undefined"})
    path.write_text(json.dumps({"@schema": _SCHEMA, "markups": [{
        "type": "Fiducial", "coordinateSystem": system, "coordinateUnits": "mm",
        "controlPoints": rows}]}, indent=1) + "\n")


def write_fcsv(path: Path, points: Mapping[str, Iterable[float]], *, system: str = "LPS") -> None:
    """Writes `points` as `.fcsv` of the version that Slicer 5 writes; missing points are left out.
    """
    lines = ["# Markups fiducial file version = 5.0", f"# CoordinateSystem = {system}",
             f"# columns = {_COLUMNS}"]
    for number, (name, point) in enumerate(points.items(), start=1):
        x, y, z = (float(v) for v in point)
        if "," in name:
            raise UserError(f"{path}: the landmark {name!r} has a comma; rename it")
        if not math.isnan(x + y + z):
            lines.append(f"{number},{x!r},{y!r},{z!r},0,0,0,1,1,1,0,{name},,")
    path.write_text("\n".join(lines) + "\n")

"""Files of boxes: Pascal VOC's XML, COCO's JSON, YOLO's text.

All are read as edges in pixels of the image, from the outer border of its first pixel: the box of
that pixel alone reaches from 0 to 1.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from medjax.errors import UserError, first_line

_MOST_SHARE = 1.5  # of an image: a box may reach beyond it


class NamedBox(NamedTuple):
    """A box of an image.

    Attributes:
      label: of its class.
      low, high: x, y[, z] of its edges.
    """

    label: str
    low: tuple[float, ...]
    high: tuple[float, ...]


class AnnotatedImage(NamedTuple):
    """An image in a file of boxes.

    Attributes:
      name: of its file.
      size: width and height, where the file tells them; else None.
    """

    name: str
    boxes: list[NamedBox]
    size: tuple[int, int] | None


def read_voc(path: Path) -> AnnotatedImage:
    """The image, and its boxes, of a file of Pascal VOC.

    There corners are the first and the last pixel, counted from 1.

    Raises:
      UserError: if the file is not of that form.
    """
    content = path.read_bytes()
    plain = content.replace(b"\0", b"")  # also of UTF-16
    if b"<!DOCTYPE" in plain or b"<!ENTITY" in plain:  # it could grow without end
        raise UserError(f"{path}: declares entities, which a list of boxes has none of")
    try:
        root = ElementTree.fromstring(content)
        boxes = []
        for item in root.iter("object"):
            place = item.find("bndbox")
            if place is None:
                raise ValueError("an object without a bndbox")
            corners = [float(place.findtext(k, "")) for k in ("xmin", "ymin", "xmax", "ymax")]
            x, y, x_last, y_last = corners
            label = item.findtext("name", "").strip()
            boxes.append(NamedBox(label, (x - 1.0, y - 1.0), (x_last, y_last)))
        name = root.findtext("filename", "").strip() or path.stem
        size = _size_of(root.findtext("size/width"), root.findtext("size/height"))
    except (ElementTree.ParseError, ValueError) as e:
        raise UserError(f"{path}: no annotation of Pascal VOC ({e})") from None
    check_boxes(path, boxes)
    return AnnotatedImage(name, boxes, size)


def _size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """Of an image, as a file tells it; some write 0 where they do not know."""
    sides = tuple(int(float(n)) if n else 0 for n in (width, height))
    return (sides[0], sides[1]) if all(sides) else None


def read_coco(path: Path) -> list[AnnotatedImage]:
    """The images of a file of COCO with their boxes; those without any too.

    There a box is its upper left corner and its size.

    Raises:
      UserError: if the file is not of that form, names an image or a class that it lacks, or has
        two of one id.
    """
    try:
        content: dict[str, Any] = json.loads(read_text(path))
        for part in ("images", "categories"):
            count = Counter(entry["id"] for entry in content[part])
            twice = next((number for number, n in count.items() if n > 1), None)
            if twice is not None:
                raise UserError(f"{path}: the id {twice} stands twice in {part}; number them anew")
        classes = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        out = {
            entry["id"]: AnnotatedImage(
                str(entry["file_name"]), [], _size_of(entry.get("width"), entry.get("height"))
            )
            for entry in content["images"]
        }
        for entry in content["annotations"]:
            if entry.get("iscrowd"):  # a region of many things, none of which it parts
                continue
            x, y, width, height = map(float, entry.get("bbox") or _box_of(entry["segmentation"]))
            label = classes[entry["category_id"]]
            box = NamedBox(label, (x, y), (x + width, y + height))
            out[entry["image_id"]].boxes.append(box)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: no annotations of COCO ({type(e).__name__}: {e})") from None
    for image in out.values():
        check_boxes(path, image.boxes)
    return list(out.values())


def _box_of(polygons: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Corner and size of the box about polygons of COCO."""
    corners = np.concatenate([np.asarray(p, float).reshape(-1, 2) for p in polygons])
    low, high = corners.min(0), corners.max(0)
    return (*low.tolist(), *(high - low).tolist())


def read_yolo(path: Path, names: Sequence[str], *, size: tuple[int, int]) -> list[NamedBox]:
    """The boxes of an image, of a text file of YOLO: class, middle and size in shares of the image.

    Args:
      names: of the classes, by number; size: of the image, width and height in pixels.

    Raises:
      UserError: if a line is not of that form.
    """
    boxes = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *rest = line.split()
            low, high = _shares_of([float(v) for v in rest])
            name = names[_class_number(label)]
        except (ValueError, IndexError) as e:
            raise UserError(
                f"{path}, line {number}: give the number of a class (0 to {len(names) - 1}) and "
                f"four shares of the image, x y width height, or the corners of a polygon ({e})"
            ) from None
        (x0, x1), (y0, y1) = ((a * n, b * n) for a, b, n in zip(low, high, size, strict=True))
        boxes.append(NamedBox(name, (x0, y0), (x1, y1)))
    check_boxes(path, boxes)
    return boxes


def _shares_of(values: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The corners of a box, in shares of the image: of its middle and size, with a confidence or
    without, or of the corners of a polygon."""
    if not all(abs(v) <= _MOST_SHARE for v in values):
        raise ValueError("these are no shares from 0 to 1: pixels, or percent?")
    if len(values) in (4, 5):
        middle, half = np.array(values[:2]), np.array(values[2:4]) / 2
        low, high = middle - half, middle + half
    elif len(values) >= 6 and len(values) % 2 == 0:
        corners = np.array(values).reshape(-1, 2)
        low, high = corners.min(0), corners.max(0)
    else:
        raise ValueError(f"{len(values)} numbers")
    return tuple(low.tolist()), tuple(high.tolist())


def _class_number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"{number}: classes are counted from 0")
    return number


def read_yolo_names(root: Path) -> tuple[str, ...]:
    """The names of the classes, of `classes.txt` or of the `names` of a `data.yaml`; empty where
    neither is there."""
    for name in ("classes.txt", "obj.names"):
        if (root / name).exists():
            names = tuple(map(str.strip, read_text(root / name).strip().splitlines()))
            if not all(names):
                raise UserError(
                    f"{root / name}: line {names.index('') + 1} is empty; classes are counted by "
                    "lines: name it"
                )
            return names
    for path in sorted(root.glob("*.y*ml")):
        names = _names_in(path)
        if names:
            return names
    return ()


def read_text(path: Path) -> str:
    """What a file says; raises UserError if that is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not in UTF-8; save it so") from None


def _names_in(path: Path) -> tuple[str, ...]:
    """The entry `names` of a YAML file, a list or by number; empty where it has none."""
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as e:
        raise UserError(f"{path}: no YAML ({first_line(e)})") from None
    names = content.get("names", ()) if isinstance(content, dict) else ()
    if not isinstance(names, dict):
        return tuple(map(str, names))
    by_number = {str(number): str(name) for number, name in names.items()}
    wanted = [str(number) for number in range(len(names))]
    if set(by_number) != set(wanted):
        raise UserError(f"{path}: names are numbered {', '.join(by_number)}; number them from 0 on")
    return tuple(by_number[number] for number in wanted)


def check_boxes(path: Path, boxes: Sequence[NamedBox]) -> None:
    """Raises UserError for a box without a class, or of numbers that are none."""
    for box in boxes:
        if not box.label:
            raise UserError(f"{path}: a box without a class; name it")
        if not all(map(math.isfinite, (*box.low, *box.high))):
            raise UserError(f"{path}: a box of {box.label} has a number that is not finite")


class SortedBoxes(NamedTuple):
    """The boxes of an image that can be used, and those that cannot.

    Attributes:
      usable: cut at the border of the image.
      empty: of those without a size, where they stand; outside: of those beyond the image.
    """

    usable: list[NamedBox]
    empty: list[str]
    outside: list[str]


def sort_out(boxes: Sequence[NamedBox], size: Sequence[float], *, image: str) -> SortedBoxes:
    """Cuts boxes at the border of their image, and leaves out those of no size and beyond it.

    Args:
      size: x, y[, z] of the image, pixels; image: its name.
    """
    out = SortedBoxes([], [], [])
    for number, box in enumerate(boxes, start=1):
        where = f"{image}, box {number} ({box.label})"
        if len(box.low) != len(size):
            raise UserError(
                f"{where}: has {len(box.low)} axes, its image {len(size)}; of volumes give zmin "
                "and zmax too"
            )
        low = tuple(max(v, 0.0) for v in box.low)
        high = tuple(min(v, float(n)) for v, n in zip(box.high, size, strict=True))
        if not _has_size(box.low, box.high):
            out.empty.append(where)
        elif not _has_size(low, high):
            out.outside.append(where)
        else:
            out.usable.append(NamedBox(box.label, low, high))
    return out


def _has_size(low: Sequence[float], high: Sequence[float]) -> bool:
    return all(a < b for a, b in zip(low, high, strict=True))

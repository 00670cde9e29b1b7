"""One's own images with boxes: a table, or files of Pascal VOC, COCO or YOLO."""

import contextlib
import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data import exams, images, splits, table, walk
from medjax.data.boxes import formats, of_masks
from medjax.data.boxes.case import BoxCase, BoxesOfSize, BoxSet, StatedSize
from medjax.data.boxes.formats import NamedBox
from medjax.data.found import known_spacing
from medjax.data.info import DatasetInfo
from medjax.data.metadata import Metadata, columns_of, facts_of_rows, join_facts
from medjax.data.options import BoxOptions
from medjax.errors import UserError

TABLE = "boxes.csv"
WANTED = (
    "boxes.csv with the columns image, label, xmin, ymin, xmax, ymax; .xml of Pascal VOC; .json of "
    "COCO; .txt of YOLO with classes.txt or data.yaml; or masks beside the images, as for segment"
)
_IMAGE_COLUMNS = ("image", "path", "file", "filename")
_LABEL_COLUMNS = ("label", "class", "category", "name")

_LOOKED_AT = 8  # images by which the grid is chosen

ByName = dict[str, list[Path]]  # images, by their names with and without suffix


class Boxed(NamedTuple):
    """An image and its boxes, in a file of one of the forms.

    Attributes:
      image: its file.
      boxes: as of `BoxCase`; names: of their classes.
      split: where the layout says it.
      stated_size: as of `BoxCase`.
    """

    image: Path
    boxes: BoxesOfSize
    names: Sequence[str]
    split: str | None = None
    stated_size: StatedSize | None = None


def box_folder(options: BoxOptions) -> BoxSet:
    """One's own images with boxes.

    A `metadata.csv` may give split, subject and spacing where the table does not.
    """
    root = table.root_of(options)
    path = table.path_of(options, TABLE)
    cases, names, known_by, notes = (
        _from_table(path, options) if path.exists() else _from_files(root, options)
    )
    if not cases and of_masks.has_masks(root):
        cases, names, known_by, notes = of_masks.boxes_of_masks(options)
    if not cases:
        raise UserError(f"`data_dir={root}`: no image with boxes; looked for {WANTED}")
    classes = tuple(dict.fromkeys(names))
    if not classes:
        raise UserError(f"`data_dir={root}`: no image has a box")
    table.check_alike(classes, what="classes")
    info = DatasetInfo(root.resolve().name, box_classes=tuple(sorted(classes)))
    return BoxSet(info, cases, _usual_grid(cases, options), 0.0, known_by, tuple(notes))


def _usual_grid(cases: Sequence[BoxCase], options: BoxOptions) -> tuple[int, ...]:
    """Sides of a grid with about as many voxels as an image usually has, by some from the whole
    length of the set; a volume shares them among its axes as its extent in mm, as voxels of the
    grid are cubes; multiples of 32."""
    looked_at = []
    for case in cases[:: max(len(cases) // _LOOKED_AT, 1)]:
        with contextlib.suppress(*[UserError] * options.skip_bad):
            looked_at.append(_sides(case.read()))
    if not looked_at:
        raise UserError(f"`data_dir={options.data_dir}`: none of the images looked at can be read")
    of_one_kind = [sides for sides in looked_at if len(sides) == len(looked_at[0])]
    return tuple(int(n) for n in np.maximum(np.ceil(np.median(of_one_kind, 0) / 32 - 1e-6), 1) * 32)


def _sides(raw_image: images.RawImage) -> np.ndarray:
    pixels, spacing = exams.turned(raw_image)
    sides = np.array(pixels.shape[:-1], float)
    if spacing is not None and known_spacing(spacing):
        sides *= np.array(spacing) / np.prod(spacing) ** (1 / len(spacing))
    return sides


def looks_like(root: Path) -> bool:
    """Whether a folder holds images with boxes."""
    has_lists = (root / TABLE).exists() or bool(_xml(root) or _coco(root) or _yolo(root))
    return has_lists or of_masks.has_masks(root)


def keep_boxes(boxes: Sequence[NamedBox]) -> BoxesOfSize:
    """Boxes whatever the size of the image; `BoxCase` asks by the size."""
    return functools.partial(_same, boxes)


def _same(boxes: Sequence[NamedBox], size: tuple[int, ...]) -> Sequence[NamedBox]:
    return boxes


def _from_files(root: Path, options: BoxOptions) -> tuple[list[BoxCase], list[str], str, list[str]]:
    below = walk.find(root, images.is_image)
    by_name = _images_by_name(below.files)
    readers = (_of_voc, _of_coco, _of_yolo)
    listed = next((some for read in readers if (some := read(root, by_name))), [])
    twice = next((p for p, n in Counter(item.image for item in listed).items() if n > 1), None)
    if twice:
        raise UserError(
            f"{twice}: two files list its boxes; join them into one, or move one of them away"
        )
    more = Metadata(root, options)
    cases = []
    for item in listed:
        facts = more.describe_image(item.image)
        facts["split"] = facts.get("split") or item.split
        case = case_of(root, item.image, item.boxes, options, facts)
        cases.append(case._replace(stated_size=item.stated_size))
    names = [name for item in listed for name in item.names]
    there = {item.image for item in listed}
    left = sorted(p.relative_to(root).as_posix() for p in set(below.files) - there)
    notes = walk.note_of(left if listed else [], "image", "without a list of boxes left out")
    return cases, names, more.known_by(), [*notes, *walk.note_unread(below), *more.notes()]


def case_of(
    root: Path, image: Path, boxes: BoxesOfSize, options: BoxOptions, facts: Mapping
) -> BoxCase:
    """An image of a file, with `facts` of `metadata.facts_of_rows`."""
    return BoxCase(
        functools.partial(images.read, image, limit_bytes=options.limit_bytes),
        boxes,
        str(image),
        image.relative_to(root).as_posix(),
        facts.get("subject", ""),
        facts.get("split"),
        facts.get("spacing_mm"),
        path=image,
    )


def _xml(root: Path) -> list[Path]:
    return walk.find(root, lambda p: p.suffix.lower() == ".xml").files


def _of_voc(root: Path, by_name: ByName) -> list[Boxed]:
    listed = {
        line.strip(): splits.split_name(path.stem, origin=str(path))
        for path in root.glob("**/ImageSets/Main/*.txt")
        if splits.is_split_name(path.stem)
        for line in formats.read_text(path).splitlines()
    }
    out = []
    for path in _xml(root):
        item = formats.read_voc(path)
        image = _image_of(by_name, (item.name, path.stem), origin=str(path))
        out.append(_boxed(path, image, item, listed.get(path.stem)))
    return out


def _coco(root: Path) -> list[Path]:
    return [p for p in walk.find(root, lambda p: p.suffix.lower() == ".json").files if _is_coco(p)]


def _is_coco(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return False
    try:
        content = json.loads(text)
    except ValueError as e:
        if '"annotations"' in text:
            raise UserError(f"{path}: no annotations of COCO: cut off, or no JSON ({e})") from None
        return False
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def _of_coco(root: Path, by_name: ByName) -> list[Boxed]:
    out = []
    for path in _coco(root):
        split = _split_of(path, root)
        for item in formats.read_coco(path):
            image = _image_of(by_name, (item.name,), origin=str(path))
            out.append(_boxed(path, image, item, split))
    return out


def _boxed(path: Path, image: Path, item: formats.AnnotatedImage, split: str | None) -> Boxed:
    """An image as a file lists it."""
    stated = StatedSize(item.size, path) if item.size else None
    return Boxed(image, keep_boxes(item.boxes), [b.label for b in item.boxes], split, stated)


def _split_of(path: Path, root: Path) -> str | None:
    """The split that a word of a file's name is, or else one of its folders."""
    words = [re.split(r"[^a-z]+", part.lower()) for part in path.relative_to(root).parts]
    named = [w for part in reversed(words) for w in part if splits.is_split_name(w)]
    return splits.split_name(named[0], origin=str(path)) if named else None


def _yolo(root: Path) -> list[Path]:
    """Text files that have the name of an image."""
    if not formats.read_yolo_names(root):
        return []
    stems = {images.stem(p) for p in walk.find(root, images.is_image).files}
    return [
        p for p in walk.find(root, lambda p: p.suffix.lower() == ".txt").files if p.stem in stems
    ]


def _of_yolo(root: Path, by_name: ByName) -> list[Boxed]:
    names, out = formats.read_yolo_names(root), []
    for path in _yolo(root):
        image = _image_of(by_name, (path.stem,), origin=str(path))
        part = next((p for p in image.relative_to(root).parts if splits.is_split_name(p)), None)
        split = splits.split_name(part, origin=str(image)) if part else None
        out.append(Boxed(image, functools.partial(_yolo_boxes, path, names), names, split))
    return out


def _yolo_boxes(path: Path, names: Sequence[str], size: tuple[int, ...]) -> list[NamedBox]:
    return formats.read_yolo(path, names, size=(size[0], size[1]))


def _images_by_name(paths: Sequence[Path]) -> ByName:
    """Images by their names with and without suffix."""
    out: dict[str, list[Path]] = {}
    for path in paths:
        for name in {path.name, images.stem(path)}:
            out.setdefault(name, []).append(path)
    return out


def _image_of(by_name: ByName, names: Sequence[str], *, origin: str) -> Path:
    """The image of a list of boxes; raises UserError if there is none, or more than one."""
    paths = next((by_name[Path(n).name] for n in names if Path(n).name in by_name), [])
    if len(paths) > 1:  # those that lie in the folder that is named
        paths = [p for p in paths if f"/{p.as_posix()}".endswith(f"/{names[0]}")] or paths
    if len(paths) != 1:
        what = "no image" if not paths else f"{len(paths)} images"
        raise UserError(f"{origin}: {what} of the name {names[0]!r}; give each image its own name")
    return paths[0]


def _from_table(path: Path, options: BoxOptions) -> tuple[list[BoxCase], list[str], str, list[str]]:
    rows, root = table.read_rows(path), path.parent
    files = table.FileIndex(root, options, suffixes=images.SUFFIXES, what="image")
    image = table.column(
        path,
        rows[0],
        wish=options.path_column,
        usual=_IMAGE_COLUMNS,
        what="images",
        option="path_column",
    )
    more = Metadata(root, options, other=rows[0])
    columns = columns_of(path, rows, options, other=more.header)
    cases, names, named = [], [], []
    for name, some in group_rows(rows, image).items():
        boxes = boxes_of_rows(path, some, label_column=options.label_column)
        file = files.find(name, origin=some[0].origin)
        here = facts_of_rows(some, columns, image=name)
        facts = join_facts(here, more.describe_image(file), some[0].origin)
        cases.append(case_of(root, file, keep_boxes(boxes), options, facts))
        names += [b.label for b in boxes]
        named.append(file)
    known = f"column {columns.subject} of {path.name}" if columns.subject else more.known_by()
    below = walk.find(root, images.is_image)
    unnamed = table.note_unnamed(path, below.files, named)
    return cases, names, known, [*unnamed, *walk.note_unread(below), *more.notes()]


def group_rows(rows: Sequence[table.TableRow], image: str) -> dict[str, list[table.TableRow]]:
    """The rows of each image, by what stands in the column `image`."""
    out: dict[str, list[table.TableRow]] = {}
    for row in rows:
        out.setdefault(row[image], []).append(row)
    return out


def boxes_of_rows(
    path: Path, rows: Sequence[table.TableRow], *, label_column: str = ""
) -> list[NamedBox]:
    """The boxes of one image, a row each, with the columns xmin, ymin[, zmin], xmax, ymax[, zmax];
    a row without numbers is an image without boxes."""
    label = table.column(
        path,
        rows[0],
        wish=label_column,
        usual=_LABEL_COLUMNS,
        what="classes",
        option="label_column",
    )
    axes = [a for a in "xyz" if f"{a}min" in rows[0]]
    missing = [c for a in axes or "xy" for c in (f"{a}min", f"{a}max") if c not in rows[0]]
    if missing:
        raise UserError(f"{path}: no column {missing[0]}; a box has xmin, ymin, xmax, ymax")
    boxes = []
    for row in rows:
        if all(table.is_missing(row[f"{a}{end}"]) for a in axes for end in ("min", "max")):
            continue
        try:
            low, high = (tuple(float(row[f"{a}{end}"]) for a in axes) for end in ("min", "max"))
        except ValueError as e:
            raise UserError(f"{row.origin}: {e}; give the edges of the box in pixels") from None
        if table.is_missing(row[label]):
            raise UserError(f"{row.origin}: a box without a class; name it")
        box = NamedBox(table.tidy(row[label]), low, high)
        if box in boxes:
            raise UserError(f"{row.origin}: the same box stands in the table twice")
        boxes.append(box)
    formats.check_boxes(path, boxes)
    return boxes

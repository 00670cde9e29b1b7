"""Labelled image files: from a table, or from a folder a class, to rows."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from medjax.data import images, splits, table, taxonomy, walk
from medjax.data import subjects as subject_rules
from medjax.data.info import UNLABELLED
from medjax.data.options import COARSE, DataOptions
from medjax.errors import UserError

TABLE = "metadata.csv"
USUAL_PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "image_id")
_NO_LABEL = ("", "na", "n/a", "nan", "null", "#n/a")  # "none" may be a class
_MASK_OF = re.compile(r"(.+)[_-](?:mask|seg|segmentation|label|labels)(?:_\d+)?")
_USUAL_LABELS = ("label", "class", "diagnosis", "target", "category", "finding")


@dataclasses.dataclass(frozen=True)
class LabelRow:
    """One image file, before its pixels are read; `subject` is empty where nothing says it, and the
    label where there are findings or quantities."""

    path: Path
    label: str
    subject: str
    split: str | None
    metadata: dict[str, str]
    origin: str = ""
    findings: tuple[float, ...] = ()
    quantities: tuple[float, ...] = ()


class Scan(NamedTuple):
    """All rows, what to say of them, by what their subjects are known, and the coarse class of each
    class where a taxonomy names some."""

    rows: list[LabelRow]
    notes: list[str]
    known_by: str
    groups: Mapping[str, str] = {}


def find_rows(options: DataOptions) -> list[LabelRow]:
    """Every image file with its label, in a fixed order; raises UserError where there is none."""
    return scan(options).rows


def scan(options: DataOptions, *, usual: str = TABLE) -> Scan:
    """The same, with what is worth knowing about it; `usual` is how the table is called."""
    root = table.root_of(options)
    listed = table.path_of(options, usual)
    scan = _from_table(listed, options) if listed.exists() else _from_folders(root, options)
    if not scan.rows:
        raise UserError(
            f"`data_dir={root}`: no images found; expected {TABLE}, or a folder "
            f"a class with {', '.join(images.SUFFIXES)} files (`medjax pretrain` needs no classes, "
            "with `unlabelled=true`)"
        )
    if len({row.label for row in scan.rows}) < 2 and options.has_classes:
        raise UserError(
            f"`data_dir={root}`: only the class {scan.rows[0].label!r}; "
            "a classifier needs two or more (`medjax pretrain` needs none, with `unlabelled=true`)"
        )
    walk.check_single(row.path for row in scan.rows)
    return _regroup(scan, options) if options.taxonomy else scan


def _regroup(scan: Scan, options: DataOptions) -> Scan:
    """The rows with the classes that the options choose from a taxonomy."""
    leaves = [(row.label, *_leaf_parts(row, options)) for row in scan.rows]
    tree = taxonomy.add_leaves(taxonomy.read_taxonomy(Path(options.taxonomy)), leaves)
    names = [taxonomy.join(parts) for parts in leaves]
    # What is held out has no part in it, where that is known.
    learnt = [n for n, row in zip(names, scan.rows, strict=True) if row.split in (None, "train")]
    counts = {**dict.fromkeys(names, 0), **Counter(learnt)}
    most = options.max_class_size
    class_of, large = taxonomy.partition(tree, counts, most=most) if most else ({}, [])
    notes = [
        f"{walk.counted(len(large), 'leaf')} of the taxonomy with more than {most} training "
        f"images: a class each, such as {walk.such_as(large)}"
    ] * bool(large)
    if options.class_level == COARSE:
        class_of = {name: tree.top(name) for name in names}
    label_of = {name: class_of.get(name, name) for name in names}
    rows = [
        dataclasses.replace(row, label=label_of[name])
        for row, name in zip(scan.rows, names, strict=True)
    ]
    groups = {label: tree.top(label) for label in label_of.values()}
    if len(set(groups.values())) < 2:
        raise UserError(
            f"`taxonomy={options.taxonomy}`: all classes are below {tree.top(names[0])!r}; leave "
            "the root of the tree out, so that two names or more have no parent"
        )
    return scan._replace(
        rows=rows,
        notes=[*scan.notes, *notes],
        groups={} if options.class_level == COARSE else groups,
    )


def _leaf_parts(row: LabelRow, options: DataOptions) -> list[str]:
    return [row.metadata[column] or "unknown" for column in options.leaf_columns]


def _columns_of(path: Path, header: Mapping[str, str], options: DataOptions) -> tuple[str, str]:
    """The columns of the files and of the classes: those that are named, or else usual ones."""
    defaults = DataOptions()
    columns = []
    for name, usual in (("path_column", USUAL_PATHS), ("label_column", _USUAL_LABELS)):
        wish, default = getattr(options, name), getattr(defaults, name)
        if name == "label_column" and not options.has_classes:
            columns.append("")
            continue
        if wish == default and wish not in header:
            wish = table.optional_column(path, header, wish="", usual=usual) or wish
        columns.append(table.optional_column(path, header, wish=wish, usual=()))
    return columns[0], columns[1]


def _from_table(path: Path, options: DataOptions) -> Scan:
    lines = table.read_rows(path)
    path_column, label_column = _columns_of(path, lines[0], options)
    for wish in (
        *options.metadata_columns,
        *options.leaf_columns,
        *options.finding_columns,
        *options.quantity_columns,
    ):
        table.optional_column(path, lines[0], wish=wish, usual=())
    if label_column and label_column in options.metadata_columns:
        raise UserError(f"`metadata_columns`: {label_column} is what is learnt; leave it out")
    split = table.optional_column(path, lines[0], wish=options.split_column, usual=("split",))
    subject = subject_rules.column_of(path, lines[0], wish=options.subject_column, rows=lines)
    files = table.FileIndex(path.parent, options, suffixes=images.SUFFIXES, what="image")
    rows, first, other = [], dict[str, str](), UNLABELLED * options.unlabelled
    for line in lines:
        name, label = line[path_column], table.tidy(line[label_column]) if label_column else other
        if not name or (label_column and label.lower() in _NO_LABEL):
            empty = label_column if name else path_column
            raise UserError(f"{line.origin}: {empty} is empty; fill it, or leave the row out")
        if subject and table.is_missing(line[subject]):
            raise UserError(
                f"{line.origin}: the subject is empty; name it, or leave the column out"
            )
        if first.setdefault(name, line.origin) != line.origin:
            raise UserError(
                f"{line.origin}: {name} is named more than once, first in {first[name]}"
            )
        file = files.find_if_there(name, origin=line.origin)
        if file is not None:
            rows.append(
                LabelRow(
                    file,
                    label,
                    table.tidy(line.get(subject, "")),
                    table.split_of(line, split, origin=line.origin),
                    {c: line[c] for c in (*options.metadata_columns, *options.leaf_columns)},
                    line.origin,
                    tuple(_finding(line, column) for column in options.finding_columns),
                    tuple(_quantity(line, column) for column in options.quantity_columns),
                )
            )
    below = walk.find(path.parent, images.is_image)
    notes = [
        *files.notes(path),
        *walk.note_unread(below),
        *table.note_unnamed(path, below.files, [row.path for row in rows]),
    ]
    if not subject:
        return _in_blocks(Scan(rows, notes, ""), options.subject_block)
    return Scan(rows, notes, f"column {subject} of {path.name}")


def _finding(line: table.TableRow, column: str) -> float:
    """1, 0, or NaN of an empty cell."""
    known = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "": math.nan}
    if line[column] not in known:
        raise UserError(
            f"{line.origin}: {column} is {line[column]!r}; a finding is 1, 0, or empty where it "
            "is not known"
        )
    return known[line[column]]


_LARGEST = 1e30  # quantity, as float32 holds it


def _quantity(line: table.TableRow, column: str) -> float:
    """A number, or NaN of a cell that is empty, or `NA`."""
    text = line[column].strip()
    if text.lower() in table.MISSING:
        return math.nan
    value = float(text) if table.is_number(text) else math.inf
    if abs(value) > _LARGEST:
        raise UserError(
            f"{line.origin}: {column} is {line[column]!r}; a quantity is a number, with a point "
            "before its decimals, or empty where it is not known"
        )
    return value


def _in_blocks(scan: Scan, size: int) -> Scan:
    """The rows with subjects: so many in a row, by the numbers in their names, within a class."""
    if size <= 1:
        return scan
    row_of = {row.path: row for row in scan.rows}
    counts, subject = Counter[str](), {}
    for path in walk.in_order(row_of):
        group = "/".join(filter(None, (row_of[path].split, row_of[path].label)))
        subject[path] = f"{group}/{counts[group] // size:04d}"
        counts[group] += 1
    rows = [dataclasses.replace(row, subject=subject[row.path]) for row in scan.rows]
    return Scan(rows, scan.notes, f"files in blocks of {size}")


def _from_folders(root: Path, options: DataOptions) -> Scan:
    defaults = DataOptions()
    for name in (
        "split_column",
        "subject_column",
        "path_column",
        "label_column",
        "path_folder",
        "path_suffix",
        "metadata_columns",
        "leaf_columns",
        "finding_columns",
        "quantity_columns",
    ):
        if getattr(options, name) != getattr(defaults, name):
            raise UserError(f"`{name}`: {root} holds folders and no {TABLE}, which it is for")
    rows, left_out = _of_any_folder(root) if options.unlabelled else _of_folder(root)
    names = {row.label.casefold() for row in rows}
    if not options.unlabelled and "images" in names and names & {"labels", "masks"}:
        raise UserError(
            f"`data_dir={root}`: {' and '.join(sorted(names))} are no classes but images and "
            f"masks, which `medjax segment` learns; else give a {TABLE}, or other names"
        )
    return _in_blocks(Scan(rows, walk.note_left_out(left_out), ""), options.subject_block)


def _of_any_folder(root: Path) -> tuple[list[LabelRow], Counter[str]]:
    """All images below the folder; where all of its folders name splits, these are kept."""
    files, left_out = walk.find(root, images.is_image)
    tops = [file.relative_to(root).parts[:-1][:1] for file in files]
    are_splits = all(top and splits.is_split_name(top[0]) for top in tops)
    rows = [
        LabelRow(
            file,
            UNLABELLED,
            "",
            splits.split_name(top[0], origin=str(file)) if are_splits else None,
            {},
            str(file),
        )
        for file, top in zip(files, tops, strict=True)
    ]
    return rows, left_out


def _of_folder(root: Path, *, split: str | None = None) -> tuple[list[LabelRow], Counter[str]]:
    """The rows of a folder of classes, or of one of splits; and what else lies there."""
    folders = walk.in_order(p for p in root.iterdir() if p.is_dir() and not walk.is_hidden(p.name))
    rows, left_out = [], walk.count_by_suffix(root)
    other = [p.name for p in folders if not splits.is_split_name(p.name)]
    if other and len(other) < len(folders):
        raise UserError(
            f"{root}: {other[0]!r} stands beside folders that name splits; move it, or "
            "have folders of splits only"
        )
    for folder in folders:
        labelled_rows, others = (
            _of_class(folder, split)
            if other
            else _of_folder(folder, split=splits.split_name(folder.name, origin=str(folder)))
        )
        rows += labelled_rows
        left_out += others
    return rows, left_out


def _of_class(folder: Path, split: str | None) -> tuple[list[LabelRow], Counter[str]]:
    files, left_out = walk.find(folder, images.is_image)
    if not files and split in (None, "train"):
        raise UserError(
            f"{folder}: no images of the class {folder.name!r}; add some or remove the folder"
        )
    masks = _masks_among(files)
    if masks:
        left_out["masks of images"] += len(masks)
        files = [file for file in files if file not in masks]
    label = table.tidy(folder.name)
    return [LabelRow(file, label, "", split, {}, str(file)) for file in files], left_out


def _masks_among(files: Sequence[Path]) -> set[Path]:
    """Those that are named after another of the files, as NAME_mask or NAME_mask_1."""
    there = {file.with_name(images.stem(file)) for file in files}
    named = ((file, _MASK_OF.fullmatch(images.stem(file))) for file in files)
    return {file for file, match in named if match and file.with_name(match[1]) in there}

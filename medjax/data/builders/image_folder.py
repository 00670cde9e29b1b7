"""One's own images: a folder a class, or a `metadata.csv`."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import exams, images, splits, table, walk
from medjax.data import subjects as subject_rules
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.options import DataOptions
from medjax.errors import UserError

TABLE = "metadata.csv"
_USUAL_PATHS = ("file", "filename", "file_name", "image", "image_path", "image_id")
_USUAL_LABELS = ("class", "diagnosis", "target", "category", "finding")


@dataclasses.dataclass(frozen=True)
class LabelRow:
    """One image file, before its pixels are read; `subject` is empty where nothing says it."""

    path: Path
    label: str
    subject: str
    split: str | None
    metadata: dict[str, str]
    origin: str = ""


class Scan(NamedTuple):
    """All rows, what to say of them, and by what their subjects are known."""

    rows: list[LabelRow]
    notes: list[str]
    known_by: str


class ImageFolder(Builder, skip_registration=True):  # type: ignore[call-arg]
    """Labelled image files: PNG, JPEG, TIFF, BMP, NIfTI, DICOM; 2-D or 3-D.

    Either `metadata.csv` in the folder names path, label and perhaps split, subject and more, or
    each class is a folder (`CLASS/*`, or `SPLIT/CLASS/*`). What has no split is split by subject.
    """

    name = "image_folder"
    VERSION = tfds.core.Version("1.3.0")  # 1.2.0 rounded a few resized pixels otherwise
    READS = (
        "data_dir",
        "path_folder",
        "path_suffix",
        "split_column",
        "subject_column",
        "split_seed",
        "image_size",
        "fit",
        "keep_spacing",
        "class_order",
        "positive_class",
        "path_column",
        "label_column",
        "metadata_columns",
        "subject_block",
        "channels",
        "skip_bad",
        "max_image_gb",
        "plain_ids",
    )

    @functools.cached_property
    def rows(self) -> list[LabelRow]:
        """Those whose header can be read, where others may be left out."""
        if not self.options.skip_bad:
            return self.scan.rows
        return list(
            self.readable(
                self.scan.rows,
                lambda row: subject_rules.patient_of(row.path),
                lambda row, patient: row,
            )
        )

    @functools.cached_property
    def scan(self) -> Scan:
        return scan(self.options)

    @functools.cached_property
    def classes(self) -> tuple[tuple[str, ...], bool]:
        return exams.order_classes([row.label for row in self.rows], self.options.class_order)

    @functools.cached_property
    def subjects(self) -> subject_rules.Subjects:
        rows, known_by = self.rows, self.scan.known_by
        names, origins = [row.subject for row in rows], [row.origin for row in rows]
        paths = [row.path for row in rows]
        if known_by.startswith("files"):  # a header that names the patient knows better
            return subject_rules.resolve(
                [""] * len(rows),
                paths,
                own=names,
                origins=origins,
                otherwise=known_by,
                secret=self.secret,
            )
        return subject_rules.resolve(
            names,
            paths,
            own=[self._case(row) for row in rows],
            origins=origins,
            column=known_by,
            secret=self.secret,
        )

    def _case(self, row: LabelRow) -> str:
        return row.path.relative_to(self.options.root).as_posix()

    def describe(self):
        return self._description

    @functools.cached_property
    def first(self) -> RawImage:
        return self._first[1]

    @functools.cached_property
    def _first(self) -> tuple[LabelRow, RawImage]:
        """The first that can be read, with its row."""
        return self.first_readable(self.rows, self._image, lambda row, image: (row, image))

    def _image(self, row: LabelRow) -> RawImage:
        raw_image = images.read(row.path, limit_bytes=self.options.limit_bytes)
        pixels = self.in_channels(raw_image.pixels)
        return raw_image._replace(pixels=pixels.astype(np.float32) if self.mixed else pixels)

    def _image_like_first(self, row: LabelRow) -> RawImage:
        first_row, first = self._first
        raw_image = self._image(row)
        if len(raw_image.axes) == len(first.axes) and raw_image.axes != first.axes:
            raise UserError(
                f"{row.path}: its axes are stored as {', '.join(raw_image.axes)}, those of "
                f"{first_row.path} as {', '.join(first.axes)}; convert them to one kind "
                "of file"
            )
        return raw_image

    @functools.cached_property
    def mixed(self) -> bool:
        """Whether some files are in the units of a modality, and others pictures."""
        kinds = Counter(images.kind(row.path) for row in self.rows)
        measured = sum(n for kind, n in kinds.items() if kind not in images.PICTURES)
        if self.options.channels and any(kind in images.DICOM for kind in kinds):
            return True  # DICOM in gray has units, in colour none
        if 0 < measured < len(self.rows):
            self.notes.append(
                f"{measured} files have the units of their modality, "
                f"{len(self.rows) - measured} are pictures: values are taken as they "
                "are, as float32"
            )
        return 0 < measured < len(self.rows)

    @functools.cached_property
    def arrangement(self) -> exams.Arrangement:
        lies = self.first.pixels.ndim == 4 or self.first.affine is not None
        layouts = list(
            self.readable(self.rows if lies else [], lambda row: images.layout(row.path))
        )
        arrangement, notes = exams.plan(layouts, self.first.pixels.shape[:-1], self.options)
        self.notes += notes
        return arrangement._replace(integer_type=exams.common_type(layouts))

    @functools.cached_property
    def _description(self):
        classes, ordered = self.classes
        arrangement = self.arrangement
        pixels = exams.arrange(self.first, arrangement, origin=str(self.rows[0].path))
        name = self.options.root.resolve().name
        info = DatasetInfo(
            name,
            classes,
            ordered=ordered,
            spacing_mm=self._spacing_mm(pixels.shape[:-1]),
            positive=exams.positive_of(classes, self.options.positive_class),
            subjects=self.subjects.known_by,
            orientation="RAS" if arrangement.oriented else "",
            resampled=arrangement.spacing_mm is not None,
        )
        return info, pixels.shape, pixels.dtype

    def _spacing_mm(self, shape: tuple[int, ...]) -> tuple[float, ...] | None:
        """Of the prepared images, by the first."""
        arrangement = self.arrangement
        if arrangement.spacing_mm is not None:
            return arrangement.spacing_mm
        stored, spacing = (
            exams.turned(self.first)
            if arrangement.oriented
            else (self.first.pixels, self.first.spacing_mm)
        )
        if not spacing or not exams.known_spacing(spacing):
            return None
        extent = [s * n for s, n in zip(spacing, stored.shape[:-1], strict=True)]
        if arrangement.shape and arrangement.fit == "pad":
            return (max(e / n for e, n in zip(extent, shape, strict=True)),) * len(shape)
        return tuple(e / n for e, n in zip(extent, shape, strict=True))

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += [*self.scan.notes, *self.subjects.notes]
        classes, _ = self.classes
        labels = [classes.index(row.label) for row in self.rows]
        given = splits.check_all_or_none(self.rows)
        self.splits_drawn = not given
        chosen = splits.complete(
            given or None, self.subjects.ids, labels, seed=self.options.split_seed
        )
        splits.check_leaks(chosen, self.subjects.shown, origins=[r.origin for r in self.rows])
        splits.check_classes(chosen, labels, classes)
        self.notes += subject_rules.check_patients(
            self.rows, chosen, self.subjects, wished=bool(self.options.subject_column)
        )
        every = list(zip(self.rows, labels, self.subjects.shown, chosen, strict=True))
        parts = {
            name: [(r, y, who) for r, y, who, s in every if s == name]
            for name in splits.SPLITS
            if name in chosen
        }
        return {name: Part(len(rows), self._read(rows)) for name, rows in parts.items()}

    def _read(self, rows: list[tuple[LabelRow, int, str]]) -> Iterator[Example]:
        arrangement = self.arrangement

        def example(item: tuple[LabelRow, int, str], raw_image: RawImage) -> Example:
            row, label, who = item
            return Example(
                exams.arrange(raw_image, arrangement, origin=str(row.path)),
                {"label": label},
                self._case(row),
                who,
                str(row.path),
                subject_rules.hide(row.metadata, self.secret),
            )

        return self.readable(rows, lambda item: self._image_like_first(item[0]), example)


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
            f"a class with {', '.join(images.SUFFIXES)} files"
        )
    if len({row.label for row in scan.rows}) < 2:
        raise UserError(
            f"`data_dir={root}`: only the class {scan.rows[0].label!r}; "
            "a classifier needs two or more"
        )
    walk.check_single(row.path for row in scan.rows)
    return scan


def _columns_of(path: Path, header: Mapping[str, str], options: DataOptions) -> tuple[str, str]:
    """The columns of the files and of the classes: those that are named, or else usual ones."""
    defaults = DataOptions()
    columns = []
    for name, usual in (("path_column", _USUAL_PATHS), ("label_column", _USUAL_LABELS)):
        wish, default = getattr(options, name), getattr(defaults, name)
        if wish == default and wish not in header:
            wish = table.optional_column(path, header, wish="", usual=usual) or wish
        columns.append(table.optional_column(path, header, wish=wish, usual=()))
    return columns[0], columns[1]


def _from_table(path: Path, options: DataOptions) -> Scan:
    lines = table.read_rows(path)
    path_column, label_column = _columns_of(path, lines[0], options)
    for wish in options.metadata_columns:
        table.optional_column(path, lines[0], wish=wish, usual=())
    split = table.optional_column(path, lines[0], wish=options.split_column, usual=("split",))
    subject = subject_rules.column_of(path, lines[0], wish=options.subject_column, rows=lines)
    files = table.FileIndex(path.parent, options, suffixes=images.SUFFIXES, what="image")
    rows, first = [], dict[str, str]()
    for line in lines:
        name, label = line[path_column], table.tidy(line[label_column])
        if not name or not label:
            raise UserError(f"{line.origin}: path or label is empty")
        if subject and not line[subject]:
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
                    {c: line[c] for c in options.metadata_columns},
                    line.origin,
                )
            )
    notes = [
        *files.notes(path),
        *table.note_unnamed(
            path, walk.find(path.parent, images.is_image).files, [row.path for row in rows]
        ),
    ]
    if not subject:
        return _in_blocks(Scan(rows, notes, ""), options.subject_block)
    return Scan(rows, notes, f"column {subject} of {path.name}")


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
    ):
        if getattr(options, name) != getattr(defaults, name):
            raise UserError(f"`{name}`: {root} holds folders and no {TABLE}, which it is for")
    rows, left_out = _of_folder(root)
    return _in_blocks(Scan(rows, walk.note_left_out(left_out), ""), options.subject_block)


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
    label = table.tidy(folder.name)
    return [LabelRow(file, label, "", split, {}, str(file)) for file in files], left_out

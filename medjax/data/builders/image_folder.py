"""One's own images: a folder a class, or a `metadata.csv`."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from medjax.data import images, splits, table
from medjax.data.builders.base import Builder, Example
from medjax.data.info import DatasetInfo
from medjax.data.options import DataOptions
from medjax.errors import UserError, unknown


@dataclasses.dataclass(frozen=True)
class Row:
    """One image file, before its pixels are read."""

    path: Path
    label: str
    subject: str
    split: str | None
    metadata: dict[str, str]


class ImageFolder(Builder, skip_registration=True):  # type: ignore[call-arg]
    """Labelled image files: PNG, JPEG, TIFF, BMP, NIfTI, DICOM; 2-D or 3-D.

    Either `metadata.csv` in the folder names path, label and perhaps split, subject and more, or
    each class is a folder (`CLASS/*`, or `SPLIT/CLASS/*`). What has no split is split by subject.
    """

    name = "image_folder"

    @functools.cached_property
    def rows(self) -> list[Row]:
        return find_rows(self.options)

    @functools.cached_property
    def classes(self) -> list[str]:
        return sorted({row.label for row in self.rows})

    def describe(self):
        return self._description

    @functools.cached_property
    def _description(self):
        found = images.read(self.rows[0].path)
        pixels, spacing = found.pixels, found.spacing_mm
        size = self.options.image_size
        shape = (size,) * (pixels.ndim - 1) if size else pixels.shape[:-1]
        if spacing and size:
            spacing = tuple(s * n / size for s, n in zip(spacing, pixels.shape[:-1], strict=True))
        name = Path(self.options.data_dir).resolve().name
        info = DatasetInfo(name, tuple(self.classes), spacing_mm=spacing)
        return info, (*shape, pixels.shape[-1]), pixels.dtype

    def examples(self, download):
        labels = [self.classes.index(row.label) for row in self.rows]
        subjects = [row.subject for row in self.rows]
        given = [row.split for row in self.rows if row.split is not None]
        chosen = splits.complete(given or None, subjects, labels, seed=self.options.split_seed)
        splits.check_leaks(chosen, subjects)
        splits.check_classes(chosen, labels, self.classes)
        every = list(zip(self.rows, labels, chosen, strict=True))
        return {name: self._read([(r, y) for r, y, s in every if s == name])
                for name in splits.SPLITS if name in chosen}

    def _read(self, rows: list[tuple[Row, int]]) -> Iterator[Example]:
        root = Path(self.options.data_dir)
        for row, label in rows:
            pixels = images.read(row.path).pixels
            if self.options.image_size:
                pixels = images.resize(pixels, [self.options.image_size] * (pixels.ndim - 1))
            case = row.path.relative_to(root).as_posix()
            yield Example(pixels, {"label": label}, case, row.subject, str(row.path), row.metadata)


def find_rows(options: DataOptions) -> list[Row]:
    """Every image file with its label, in a fixed order; raises UserError where there is none."""
    root = Path(options.data_dir)
    if not options.data_dir or not root.is_dir():
        raise UserError(f"--data_dir={options.data_dir}: no such folder")
    listed = root / "metadata.csv"
    rows = _from_table(listed, options) if listed.exists() else _from_folders(root, options)
    if not rows:
        raise UserError(f"--data_dir={root}: no images found; expected metadata.csv, or a folder "
                        f"a class with {', '.join(images.SUFFIXES)} files")
    if len({row.label for row in rows}) < 2:
        raise UserError(f"--data_dir={root}: only the class {rows[0].label!r}; "
                        "a classifier needs two or more")
    return rows


def _from_table(path: Path, options: DataOptions) -> list[Row]:
    lines = table.read_rows(path)
    needed = [options.path_column, options.label_column, *options.metadata_columns]
    defaults = DataOptions()
    for flag in ("split_column", "subject_column"):  # a default may be absent, a wish may not
        if getattr(options, flag) != getattr(defaults, flag):
            needed.append(getattr(options, flag))
    for column in needed:
        if column not in lines[0]:
            raise unknown(f"column of {path}", column, lines[0])
    rows = []
    for number, line in enumerate(lines, start=2):
        origin = f"{path}, line {number}"
        name, label = line[options.path_column], line[options.label_column]
        if not name or not label:
            raise UserError(f"{origin}: path or label is empty")
        table.check_path(options.path_folder, name, origin=origin)
        subject = line.get(options.subject_column, name)
        if not subject:
            raise UserError(f"{origin}: the subject is empty; name it, or leave the column out")
        rows.append(Row(
            path.parent / options.path_folder / (name + options.path_suffix), label, subject,
            table.split_of(line, options.split_column, origin=origin),
            {c: line[c] for c in options.metadata_columns}))
    if 0 < sum(row.split is None for row in rows) < len(rows):
        raise UserError(f"{path}: some rows have a split and some have none; give all or none")
    twice = [p for p, n in Counter(row.path for row in rows).items() if n > 1]
    if twice:
        raise UserError(f"{path}: {twice[0]} is named more than once")
    return rows


def _from_folders(root: Path, options: DataOptions) -> list[Row]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    other = [p.name for p in folders if not splits.is_split_name(p.name)]
    if folders and not other:
        return [dataclasses.replace(row, split=splits.split_name(p.name, origin=str(p)),
                                    subject=f"{p.name}/{row.subject}")
                for p in folders for row in _from_folders(p, options)]
    if len(other) < len(folders):
        raise UserError(f"{root}: {other[0]!r} stands beside folders that name splits; move it, or "
                        "have folders of splits only")
    rows = []
    for folder in folders:
        files = sorted(f for f in folder.rglob("*")
                       if f.is_file() and images.suffix(f) in images.SUFFIXES)
        if not files:
            raise UserError(f"{folder}: no images of the class {folder.name!r}; "
                            "add some or remove the folder")
        for i, file in enumerate(files):
            block = options.subject_block
            subject = (f"{folder.name}/{i // block:04d}" if block > 1
                       else file.relative_to(root.parent).as_posix())
            rows.append(Row(file, folder.name, subject, None, {}))
    return rows

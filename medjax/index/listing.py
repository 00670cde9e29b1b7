"""The images of a folder with what a table says of them, as an index adds them."""

import dataclasses
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.bundle import Bundle
from medjax.config import option
from medjax.data import images, labelled, subjects, table, walk
from medjax.data.options import DataOptions
from medjax.errors import UserError
from medjax.evaluation import plot
from medjax.index.conditions import as_fact
from medjax.index.store import Fact

LABEL, LABELLED = "label", DataOptions()
_PICTURE_SIDE = 192
_BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class ListingOptions:
    """How the table of a folder of images is read.

    Attributes:
      table: its path; empty: `metadata.csv` in the folder.
      path_column, subject_column: empty: those with usual names.
      path_folder, path_suffix: what stands before and after each name in it.
    """

    table: str = option("", "add: metadata of the images; empty: metadata.csv", path=True)
    path_column: str = option("", "add: of file names; empty: one with a usual name")
    path_folder: str = option("", "add: put before each file name")
    path_suffix: str = option("", "add: put after each file name")
    subject_column: str = option("", "add: of subjects; empty: one with a usual name")


class ListedImage(NamedTuple):
    """An image that may be added.

    Attributes:
      path: the file; case_id: the same below the folder.
      subject_id: of a table; empty where nothing says it.
      facts: its metadata.
    """

    path: Path
    case_id: str
    subject_id: str
    facts: dict[str, Fact]


def list_images(
    root: Path, model: Bundle, options: ListingOptions, *, secret: subjects.Secret | None = None
) -> tuple[list[ListedImage], list[str]]:
    """The images below a folder, or the one that a file is, and notes on what is left out.

    Metadata are the columns of `metadata.csv` in it; without one the name of the folder that an
    image lies in is its `label`. PatientIDs are pseudonyms, by `secret`.

    Raises:
      UserError: if there is no image, or the table does not fit the files.
    """
    if not root.exists():
        raise UserError(f"{root}: no such file or folder")
    path = Path(options.table) if options.table else root / labelled.TABLE
    if root.is_dir() and (options.table or path.exists()):
        listed, notes = _from_table(root, path, options, secret)
    else:
        given = next((name for name, value in vars(options).items() if value), "")
        if given:
            raise UserError(f"`{given}`: {root} has no {labelled.TABLE}, which it is for")
        listed, notes = _from_folder(root, model)
    if not listed:
        suffixes = ", ".join(model.predictor.output.prepare.suffixes)
        raise UserError(f"{root}: no images in it ({suffixes})")
    return listed, notes


def _from_folder(root: Path, model: Bundle) -> tuple[list[ListedImage], list[str]]:
    if root.is_file():
        return [ListedImage(root, root.name, "", {})], []
    files, left_out = model.predictor.output.prepare.list_files(root, model.spec)
    listed = []
    for path in files:
        parts = path.relative_to(root).parts if path != root else (root.name,)
        facts: dict[str, Fact] = {LABEL: table.tidy(parts[-2])} if len(parts) > 1 else {}
        listed.append(ListedImage(path, "/".join(parts), "", facts))
    return listed, walk.note_left_out(walk.Counter(left_out))


def _from_table(
    root: Path, path: Path, options: ListingOptions, secret: subjects.Secret | None
) -> tuple[list[ListedImage], list[str]]:
    rows = table.read_rows(path)
    usual = (LABELLED.path_column, *labelled.USUAL_PATHS)
    column = table.optional_column(path, rows[0], wish=options.path_column, usual=usual)
    if not column:
        raise UserError(f"{path}: no column of file names; name it by `path_column`")
    subject = subjects.column_of(path, rows[0], wish=options.subject_column, rows=rows)
    names = [name for name in rows[0] if name not in (column, subject, "split")]
    odd = next((name for name in names if '"' in name or "\\" in name), None)
    if odd is not None:
        raise UserError(f"{path}: the column {odd!r} has a quotation mark in its name; rename it")
    where = dataclasses.replace(
        LABELLED, path_folder=options.path_folder, path_suffix=options.path_suffix
    )
    files = table.FileIndex(root, where, suffixes=images.SUFFIXES, what="image")
    listed, first = [], dict[Path, str]()
    for row in rows:
        file = files.find(row[column], origin=row.origin)
        if first.setdefault(file, row.origin) != row.origin:
            raise UserError(f"{row.origin}: {file.name} is named twice, first in {first[file]}")
        shown = subjects.hide({name: row[name] for name in (*names, subject) if name}, secret)
        given = [name for name in names if row[name].lower() not in table.MISSING]
        facts = {name: as_fact(shown[name]) for name in given}
        case_id = file.relative_to(root).as_posix()
        listed.append(ListedImage(file, case_id, shown.get(subject, ""), facts))
    known = [image.path for image in listed]
    walk.check_single(known)
    notes = table.note_unnamed(path, walk.find(root, images.is_image).files, known)
    return listed, [*notes, *_note_lacking(listed, names)]


def _note_lacking(listed: list[ListedImage], names: list[str]) -> Iterator[str]:
    """How many images lack which metadata: conditions on it will pass them over."""
    for name in names:
        count = sum(name not in image.facts for image in listed)
        if count:
            yield f"{walk.counted(count, 'image')} of {len(listed)} without {name}"


def hash_file(path: Path) -> str:
    """The sha256 of a file, of a folder of slices that of all of them."""
    hashed = hashlib.sha256()
    for part in sorted(images.slices_in(path)) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                hashed.update(block)
    return hashed.hexdigest()


def make_picture(image: np.ndarray) -> bytes:
    """An image `[*space, channel]` as a small PNG, of a volume its middle slice; a tiny one is
    enlarged by whole pixels."""
    picture, content = plot.enlarge(image, side=_PICTURE_SIDE), io.BytesIO()
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    picture.save(content, "PNG")
    return content.getvalue()


def picture_file(path: Path, image: np.ndarray, *, limit_bytes: int) -> bytes:
    """A picture in a file as it is, rather than the coarse one that a network takes.

    Of a volume and a slice it is the prepared `image`, which stands upright.
    """
    if image.ndim == 3 and images.kind(path) in images.PICTURES:
        image = images.read(path, limit_bytes=limit_bytes).pixels
    return make_picture(image)

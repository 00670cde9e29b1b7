"""Tables in CSV files that name images, one a row, and the files that they mean."""

import csv
import math
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medjax.data import splits, walk
from medjax.data.options import Options
from medjax.errors import UserError, unknown


class TableRow(dict[str, str]):
    """The cells of a row by column; `origin` is the file and the line that it ends on."""

    origin: str = ""


def root_of(options: Options) -> Path:
    """The folder that holds the set; raises UserError where there is none."""
    root = options.root
    if not options.data_dir or not root.is_dir():
        raise UserError(f"`data_dir={options.data_dir}`: no such folder")
    return root


def path_of(options: Options, usual: str) -> Path:
    """The table of the set: the one that is named, or the one that is called as `usual`."""
    return Path(options.data_dir) if options.is_table else root_of(options) / usual


def read_rows(path: Path) -> list[TableRow]:
    """The rows of a CSV file, without blanks about its cells; rows without text are left out.

    Raises:
      UserError: if it is none, a column stands twice in its header, or a row has more or fewer
        fields than the header; it names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            reader = csv.reader(f, strict=True, skipinitialspace=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({e})") from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if len(lines) < 2:
        raise UserError(f"{path}: has no rows")
    header = [tidy(name) for name in lines[0][1]]
    _check_header(path, header)
    return [_row(path, number, header, cells) for number, cells in lines[1:]]


def tidy(text: str) -> str:
    """A name with single blanks between its words, none about it, and each letter in one form."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def check_alike(names: Iterable[str], *, what: str) -> None:
    """Raises UserError if two names differ by upper and lower case only."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.casefold(), name)
        if other != name:
            raise UserError(
                f"the {what} {' and '.join(sorted((other, name)))} differ by case "
                "only; give them one name, or names that differ"
            )


def usual_in(row: Mapping[str, str], usual: Sequence[str]) -> list[str]:
    """The columns that have one of the usual names, whatever its case and marks, in their order."""
    order = list(dict.fromkeys(map(plain, usual)))
    return sorted(
        (name for name in row if plain(name) in order), key=lambda name: order.index(plain(name))
    )


def plain(name: str) -> str:
    """`Patient ID` as `patientid`."""
    return "".join(c for c in name.casefold() if c.isalnum())


def _check_header(path: Path, header: list[str]) -> None:
    folded = [name.casefold() for name in header]
    twice = next((name for name in header if name and folded.count(name.casefold()) > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the column {twice!r} stands twice in its header; rename one")
    other = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
    if len(header) == 1 and other:
        raise UserError(f"{path}: its fields are separated by {other!r}; save it with commas")


def _row(path: Path, number: int, header: list[str], cells: list[str]) -> TableRow:
    if len(cells) != len(header):
        raise UserError(
            f"{path}, line {number}: has {len(cells)} fields where the header has "
            f"{len(header)}; a text with a comma needs quotes"
        )
    row = TableRow({name: cell for name, cell in zip(header, cells, strict=True) if name})
    row.origin = f"{path}, line {number}"
    return row


def column(
    path: Path, row: Mapping[str, str], *, wish: str, usual: Sequence[str], what: str, option: str
) -> str:
    """The column `wish`, or without a wish the first of the usual ones that the row has.

    Raises:
      UserError: if there is none; it names the option that chooses one.
    """
    column = optional_column(path, row, wish=wish, usual=usual)
    if not column:
        raise UserError(
            f"{path}: no column of the {what} ({', '.join(usual)}); name it with `{option}`"
        )
    return column


def optional_column(path: Path, row: Mapping[str, str], *, wish: str, usual: Sequence[str]) -> str:
    """The same, empty where there is none; a wish that the row lacks is an error."""
    if wish and wish not in row:
        raise unknown(f"column of {path}", wish, row)
    return wish or next(iter(usual_in(row, usual)), "")


def one_value(rows: Iterable[TableRow], name: str, *, what: str) -> str:
    """What the rows of one image say in a column; empty where none says anything.

    Raises:
      UserError: if two rows say different things.
    """
    values = [(tidy(row[name]), row.origin) for row in rows if row.get(name)]
    for value, origin in values:
        if value != values[0][0]:
            raise UserError(
                f"{origin}: {what} has {name} {value!r}, but {values[0][0]!r} in "
                f"{values[0][1]}; rows of one image must agree"
            )
    return values[0][0] if values else ""


MISSING = ("", "na", "n/a", "nan", "none", "null")  # as tables write that nothing is known


def is_missing(text: str) -> bool:
    """Whether a cell says nothing."""
    return text.strip().lower() in (*MISSING, "unknown")


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def positive(text: str | None, *, what: str, origin: str) -> float | None:
    """None for an empty text; raises UserError, which names the unit, if it is no such number."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{origin}: {text!r} is no positive number of {what}")
    return value


def split_of(row: Mapping[str, str], name: str, *, origin: str) -> str | None:
    """What the column `name` says of the split, or None; raises UserError for an unknown one."""
    text = row.get(name)
    return splits.split_name(text, origin=origin) if text else None


def check_path(*parts: str, origin: str) -> None:
    """Raises UserError if a path of these parts leaves the folder that it is relative to."""
    path = Path(*parts)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{origin}: {parts[-1]!r} leaves the folder; paths are relative to it")


def note_unnamed(path: Path, files: Iterable[Path], named: Iterable[Path]) -> list[str]:
    """A note of the files that no row of the table at `path` names; none where there are none."""
    known = {Path(os.path.realpath(p)) for p in named}  # some are folders, as of DICOM series

    def is_named(file: Path) -> bool:
        real = Path(os.path.realpath(file))
        return real in known or not known.isdisjoint(real.parents)

    here = path.parent
    left = [Path(os.path.relpath(p, here)).as_posix() for p in files if not is_named(p)]
    return walk.note_of(left, "image", f"left out that no row of {path.name} names")


class FileIndex:
    """The files that a table names, with or without their suffix; each has one name."""

    def __init__(self, root: Path, options: Options, *, suffixes: Sequence[str], what: str):
        """`what` they are, for messages."""
        self._root, self._options, self._suffixes, self._what = root, options, suffixes, what
        self._found: dict[str, Path] = {}
        self._named: dict[str, tuple[str, str]] = {}  # real path: name and origin
        self._absent: dict[str, None] = {}

    def find(self, name: str, *, origin: str) -> Path:
        """Raises UserError if there is no such file, several, or one that has another name."""
        if name in self._found:
            return self._found[name]
        paths = self.candidates(name, origin=origin)
        if not paths:
            raise UserError(
                f"{origin}: no such {self._what} file: {self._tries(name)[0]}; "
                "`path_folder` and `path_suffix` are put before and after each name"
            )
        if len(paths) > 1:
            raise UserError(
                f"{origin}: {name!r} may be {paths[0].name} or {paths[1].name}; give "
                "the name with its suffix"
            )
        real = os.path.realpath(paths[0])
        other, where = self._named.setdefault(real, (name, origin))
        if other != name:
            raise UserError(
                f"{origin}: {name!r} is the file that is called {other!r} in {where}; "
                "give it one name"
            )
        self._found[name] = paths[0]
        return paths[0]

    def find_if_there(self, name: str, *, origin: str) -> Path | None:
        """The same, or None for a file that is missing where `skip_bad` allows it."""
        if self._options.skip_bad and not self.candidates(name, origin=origin):
            self._absent[name] = None
            return None
        return self.find(name, origin=origin)

    def notes(self, path: Path) -> list[str]:
        """A note of the files that were not there, of the table at `path`."""
        return walk.note_of(
            self._absent, "row", f"of {path.name} left out, as there is no such {self._what}"
        )

    def candidates(self, name: str, *, origin: str) -> list[Path]:
        """The files that may be meant."""
        check_path(self._options.path_folder, name, origin=origin)
        exact, *others = (p for p in self._tries(name))
        if exact.is_file():
            return [exact]
        by_target = {os.path.realpath(p): p for p in others if p.is_file()}
        return list(by_target.values()) or ([exact] if exact.is_dir() else [])

    def _tries(self, name: str) -> list[Path]:
        base = self._root / self._options.path_folder
        ends = dict.fromkeys(
            (self._options.path_suffix, "", *self._suffixes, *(s.upper() for s in self._suffixes))
        )
        return [base / (name + end) for end in ends]

"""Files that appear whole or not at all, names that any file system takes, and tables."""

import contextlib
import csv
import hashlib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Writers = Mapping[tuple[str, str], Callable[[Path], None]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
_LONGEST = 120  # bytes of a name, so that suffixes fit into what file systems take


def write_bytes(path: Path, content: bytes) -> None:
    """Writes all or nothing: to a file beside it, then renamed; no link is followed."""
    partial_path = path.with_name(path.name + ".part")
    with contextlib.suppress(FileNotFoundError):
        partial_path.unlink()  # of a process that was killed
    descriptor = os.open(partial_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(partial_path, path)
    except OSError:
        partial_path.unlink(missing_ok=True)  # nothing half-written stays
        raise


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV, all or nothing: fractions with seven digits, what is undefined empty.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow([_cell(name) for name in header])
    table.writerows([_cell(v) for v in row] for row in rows)
    write_bytes(path, text.getvalue().encode(errors="backslashreplace"))


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    if not isinstance(value, (float, np.floating)):
        return value
    return "" if np.isnan(value) else f"{value:.7g}"


def read_table(path: Path) -> list[list[str]]:
    """The rows of what `write_table` wrote, its header first."""
    with path.open(newline="", encoding="utf-8-sig") as f:  # Excel may have saved it again
        return [[_plain(cell) for cell in row] for row in csv.reader(f)]


def read_records(path: Path) -> list[dict[str, str]]:
    """The same by column."""
    rows = read_table(path)
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


class Names:
    """Names of files for cases, whatever these are called; each case has its own."""

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def name_of(self, case: str) -> str:
        """A name without folder or suffix of an image: plain where it can be, else with a hash."""
        plain = re.sub(r"[^\w.()+ -]", "_", case.encode(errors="replace").decode())
        plain = re.sub(r"(?i)(\.nii)?\.gz$|\.nii$", "", plain).strip(" .") or "case"
        short = plain.encode()[:_LONGEST].decode(errors="ignore")
        hashed = (f"{short[: _LONGEST - 40]}-{_digest(f'{i}/{case}')}" for i in itertools.count())
        wanted = itertools.chain([short] * (short == plain), hashed)
        return next(
            name for name in wanted if self._taken.setdefault(name.casefold(), case) == case
        )


def write_cases(folder: Path, cases: Iterable[tuple[str, Writers]]) -> tuple[str, ...]:
    """Writes the files of each case into folders of their own, which it names; of each case what
    writes them, by folder and suffix."""
    name_of, folders = Names().name_of, set()
    for case, writers in cases:
        name = name_of(case)
        for (inner, suffix), write in writers.items():
            (folder / inner).mkdir(exist_ok=True)
            write(folder / inner / f"{name}{suffix}")
            folders.add(f"{inner}/")
    return tuple(sorted(folders))


def _digest(text: str) -> str:
    return hashlib.sha1(text.encode(errors="surrogateescape")).hexdigest()[:8]

"""Tables in CSV files that name images, one a row."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from medjax.data import splits
from medjax.data.options import Options
from medjax.errors import UserError, unknown

Row = Mapping[str, str]


def root_of(options: Options) -> Path:
    """The folder that holds the set; raises UserError where there is none."""
    root = Path(options.data_dir)
    if not options.data_dir or not root.is_dir():
        raise UserError(f"--data_dir={options.data_dir}: no such folder")
    return root


def find_file(root: Path, options: Options, name: str, *, suffixes: Sequence[str], what: str,
              origin: str) -> Path:
    """What a table calls `name`, with or without one of the suffixes; `what` it is, for messages.
    """
    check_path(options.path_folder, name, origin=origin)
    base = root / options.path_folder
    tries = [base / (name + s) for s in (options.path_suffix, *suffixes)]
    found = next((p for p in tries if p.exists()), None)
    if found is None:
        raise UserError(f"{origin}: no {what} {tries[0]}; --path_folder and --path_suffix are put "
                        "before and after each name")
    return found


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


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as dicts of trimmed text; raises UserError where it is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            rows = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({e})") from None
    if not rows:
        raise UserError(f"{path}: has no rows")
    return [{k: (v or "").strip() for k, v in row.items() if k} for row in rows]


def column(path: Path, row: Row, *, wish: str, usual: Sequence[str], what: str, flag: str) -> str:
    """The column `wish`, or without a wish the first of the usual ones that the row has.

    Raises:
      UserError: if there is none; it names `flag`, which chooses one.
    """
    if wish and wish not in row:
        raise unknown(f"column of {path}", wish, row)
    found = wish or next((name for name in usual if name in row), "")
    if not found:
        raise UserError(f"{path}: no column of the {what} ({', '.join(usual)}); name it with "
                        f"{flag}")
    return found


def split_of(row: Row, name: str, *, origin: str) -> str | None:
    """What the column `name` says of the split, or None; raises UserError for an unknown one."""
    text = row.get(name)
    return splits.split_name(text, origin=origin) if text else None


def check_path(*parts: str, origin: str) -> None:
    """Raises UserError if a path of these parts leaves the folder that it is relative to."""
    path = Path(*parts)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{origin}: {parts[-1]!r} leaves the folder; paths are relative to it")

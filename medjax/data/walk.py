"""The files below a folder, in the order of the numbers in their names; what is left out counts."""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from medjax.errors import UserError


class Walk(NamedTuple):
    """The files that were wanted, and how many were not, by suffix."""

    files: list[Path]
    left_out: Counter[str]


def natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """A key that sorts names by the whole numbers in them: `2.png` before `10.png`."""
    pieces = re.split(r"(\d+)", name)
    return [(1, int(p)) if p.isdecimal() else (0, p) for p in pieces if p], name


def in_order(paths: Iterable[Path]) -> list[Path]:
    """The paths by `natural`, folder by folder."""
    return sorted(paths, key=lambda path: [natural(part) for part in path.parts])


def is_hidden(name: str) -> bool:
    """Whether a file or folder is of the system or an editor, not of the user."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """`root` and every folder below it with the names of its files; hidden ones are left out.

    Links to folders are followed, unless they lead back to a folder that they lie in.

    Raises:
      UserError: for a folder that may not be read, whose name is no text, or that two names lead
        to.
    """

    def stop(error: OSError) -> None:
        raise UserError(f"{error.filename}: {error.strerror}; allow it to be read, or move it away")

    known: dict[str, str] = {}
    for name, below, files in os.walk(root, followlinks=True, onerror=stop):
        here = os.path.realpath(name)
        if known.setdefault(here, name) != name:
            raise UserError(f"{name}: is the same folder as {known[here]}; remove one of the two")
        odd = next((d for d in below if not _is_text(d)), None)
        if odd is not None:
            raise UserError(
                f"{name}: the folder {odd!a} in it has a name that is not UTF-8; rename it"
            )
        below[:] = sorted(
            d
            for d in below
            if not is_hidden(d) and not _leads_back(os.path.realpath(os.path.join(name, d)), here)
        )
        yield Path(name), [f for f in files if not is_hidden(f)]


def _leads_back(target: str, here: str) -> bool:
    return here == target or here.startswith(target.rstrip(os.sep) + os.sep)


def find(root: Path, wanted: Callable[[Path], bool]) -> Walk:
    """All files below `root` that are `wanted`, in order."""
    files, left_out = [], Counter[str]()
    for folder, names in folders(root):
        for path in (folder / name for name in names):
            if not _is_text(path.name):
                left_out["with a name that is not UTF-8"] += 1
            elif not path.is_file():  # a link to nowhere, a socket
                left_out["broken link"] += 1
            elif wanted(path):
                files.append(path)
            else:
                left_out[path.suffix.lower() or "without suffix"] += 1
    return Walk(in_order(files), left_out)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def count_by_suffix(root: Path) -> Counter[str]:
    """The files in `root` itself, by suffix."""
    return Counter(
        p.suffix.lower() or "without suffix"
        for p in root.iterdir()
        if p.is_file() and not is_hidden(p.name)
    )


def check_single(files: Iterable[Path]) -> None:
    """Raises UserError if two names, by links, are one file."""
    known: dict[str, Path] = {}
    for path in files:
        first = known.setdefault(os.path.realpath(path), path)
        if first is not path:
            raise UserError(f"{path}: is the same file as {first}; remove one of the two")


def note_left_out(left_out: Counter[str]) -> list[str]:
    """One line that says how many files were left out; none where there are none."""
    if not left_out:
        return []
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in left_out.most_common(8))
    return [f"{counted(sum(left_out.values()), 'file')} of other kinds left out ({kinds})"]


_BESIDE = (".csv", ".json", ".txt", ".xml", ".yaml", ".yml", ".md", ".fcsv", ".tfm", ".names")


def note_unread(below: Walk) -> list[str]:
    """How many files are of a kind that is not read, in one line; lists and texts beside images
    aside."""
    left_out = {k: n for k, n in below.left_out.items() if k not in _BESIDE}
    return note_left_out(Counter(left_out))


def counted(count: int, what: str) -> str:
    """`1 image`, `3 images`, `2 boxes`."""
    ending = "" if count == 1 else "es" if what.endswith(("x", "ss")) else "s"
    return f"{count} {what}{ending}"


def note_of(names: Collection[str], what: str, why: str, *, most: int = 3) -> list[str]:
    """`2 images WHY: a, b`; nothing where there are no names."""
    return [f"{counted(len(names), what)} {why}: {such_as(names, most=most)}"] if names else []


def such_as(names: Iterable[str], *, most: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more

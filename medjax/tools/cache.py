"""What is kept between runs: prepared sets, features, compiled programs and convolutions.

    medjax cache
    medjax cache --empty=image_folder
    medjax cache --empty=programs

`--empty` removes what it names: a set, `sets`, `features` (of frozen networks), `programs`,
`native` (what `medjax build` has made), or `all`. Nothing is lost but time: sets are prepared and
programs compiled again. Do it while no run is at work.
"""

import contextlib
import dataclasses
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medjax import lock, runtime
from medjax.config import option
from medjax.data import walk
from medjax.errors import UserError, unknown
from medjax.evaluation import report

PROGRAMS, NATIVE, FEATURES, SETS, ALL = "programs", "native", "features", "sets", "all"
_LOCK = ".lock"
_FORM = re.compile("[0-9a-f]{12}")  # of the options that a set was prepared with


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    empty: str = option("", "remove this: a set, sets, features, programs, native, or all")
    cache_dir: str = option("~/.cache/medjax", "the folder that is meant", path=True)


class CacheEntry(NamedTuple):
    """What is kept under one name.

    Attributes:
      paths: folders or files that hold it; number: of prepared forms of a set, or of programs.
      used: when anything in it was last read or written, seconds since 1970.
    """

    name: str
    paths: list[Path]
    number: int
    size_bytes: int
    used: float


def main(config: Config) -> None:
    root = Path(config.cache_dir).expanduser()
    entries = {entry.name: entry for entry in list_entries(root)}
    if config.empty:
        _empty(entries, config.empty)
        return
    report.show(
        str(root),
        ("what", "number", "MB", "last used"),
        [_row(entry) for entry in sorted(entries.values(), key=lambda e: -e.size_bytes)],
        [
            f"{sum(e.size_bytes for e in entries.values()) / 1e6:,.1f} MB in all; to remove some: "
            "medjax cache --empty=NAME (or sets, programs, all)"
        ],
    )


def list_entries(root: Path) -> Iterator[CacheEntry]:
    """Every set that is prepared in a cache folder, its compiled programs, convolutions, and
    features."""
    datasets = root / "datasets"
    for folder in sorted(datasets.iterdir()) if datasets.is_dir() else ():
        forms = [p for p in folder.iterdir() if _is_form(p)] if folder.is_dir() else []
        if forms:
            yield _entry(folder.name, forms, number=len(forms))
    for name, folder, patterns in (
        (PROGRAMS, root / runtime.COMPILED, ("*-cache", "*-atime")),
        (NATIVE, root / "native", ("conv_*.so",)),
        (FEATURES, root / runtime.FEATURES, ("*.npy",)),
    ):
        kept = [p for wanted in patterns for p in folder.glob(wanted)]
        if kept:
            yield _entry(name, kept, number=sum(p.match(patterns[0]) for p in kept))


def _is_form(folder: Path) -> bool:
    """Whether medjax has prepared a set there, or begun to: the folder may hold other things."""
    made = (*folder.glob("*/dataset_info.json"), *folder.glob("incomplete.*"), folder / _LOCK)
    return bool(_FORM.fullmatch(folder.name)) and any(p.exists() for p in made)


def _entry(name: str, paths: list[Path], *, number: int) -> CacheEntry:
    states = []
    for path in paths:
        for file in (path, *path.rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                states.append(file.stat())
    return CacheEntry(
        name,
        paths,
        number,
        sum(s.st_size for s in states),
        max((max(s.st_atime, s.st_mtime) for s in states), default=0.0),
    )


def _row(entry: CacheEntry) -> list[str]:
    day = time.strftime("%Y-%m-%d", time.localtime(entry.used)) if entry.used else ""
    return [entry.name, f"{entry.number:,}", f"{entry.size_bytes / 1e6:,.1f}", day]


def _empty(entries: dict[str, CacheEntry], name: str) -> None:
    groups = {
        ALL: list(entries),
        SETS: [n for n in entries if n not in (PROGRAMS, NATIVE, FEATURES)],
        **{n: [n] for n in entries},
    }
    if name not in groups:
        raise unknown("entry of the cache", name, groups)
    freed = sum(entries[n].size_bytes for n in groups[name])
    busy = [path for n in groups[name] for path in entries[n].paths if not _remove(path)]
    if busy:
        sets = walk.counted(len(busy), "set")
        raise UserError(
            f"{sets} being prepared just now, such as {busy[0]}: try again when it is done; all "
            "else was removed"
        )
    print(f"removed {', '.join(groups[name]) or 'nothing'}: {freed / 1e6:,.1f} MB")


def _remove(folder: Path) -> bool:
    """Removes a file, or a folder unless a process that prepares a set holds it."""
    if not folder.is_dir():
        folder.unlink(missing_ok=True)
        return True
    with lock.hold(folder / _LOCK, wait=False) as held:
        if held:
            shutil.rmtree(folder, ignore_errors=True)
    return held

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


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    empty: str = option("", "remove this: a set, sets, features, programs, native, or all")
    cache_dir: str = option("~/.cache/medjax", "the folder that is meant", path=True)


class CacheEntry(NamedTuple):
    """What is kept under one name.

    Attributes:
      folders: that hold it; number: of prepared forms of a set, or of programs.
      used: when anything in it was last read or written, seconds since 1970.
    """

    name: str
    folders: list[Path]
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
        forms = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        if forms:
            yield _entry(folder.name, forms, number=len(forms))
    for name, folder, pattern in (
        (PROGRAMS, root / runtime.COMPILED, "*-cache"),
        (NATIVE, root / "native", "*.so"),
        (FEATURES, root / runtime.FEATURES, "*.npy"),
    ):
        if folder.is_dir():
            yield _entry(name, [folder], number=sum(1 for _ in folder.glob(pattern)))


def _entry(name: str, folders: list[Path], *, number: int) -> CacheEntry:
    states = []
    for folder in folders:
        for file in folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # another process may remove it
                states.append(file.stat())
    return CacheEntry(
        name,
        folders,
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
    busy = [folder for n in groups[name] for folder in entries[n].folders if not _remove(folder)]
    if busy:
        sets = walk.counted(len(busy), "set")
        raise UserError(
            f"{sets} being prepared just now, such as {busy[0]}: try again when it is done; all "
            "else was removed"
        )
    print(f"removed {', '.join(groups[name]) or 'nothing'}: {freed / 1e6:,.1f} MB")


def _remove(folder: Path) -> bool:
    """Removes a folder, unless a process that prepares a set holds it."""
    with lock.hold(folder / _LOCK, wait=False) as held:
        if held:
            shutil.rmtree(folder, ignore_errors=True)
    return held

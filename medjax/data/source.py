"""A prepared set, opened: columns in memory, images on demand."""

import contextlib
import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from medjax import lock, progress, runtime
from medjax.data import catalogue, columns, pairing, subjects, volumes
from medjax.data import splits as split_rules
from medjax.data.boxes.case import note_absent
from medjax.data.columns import SplitColumns
from medjax.data.dataset import Dataset, Split, digest_of
from medjax.data.info import NOTES, DatasetInfo
from medjax.data.landmarks.missing import note_missing
from medjax.data.masks.case import check_structures
from medjax.data.options import Options
from medjax.errors import UserError, unknown


def load(
    name: str,
    *,
    options: Options,
    cache_dir: str | Path,
    say: Callable[[str], None] = lambda line: None,
) -> Dataset:
    """Opens the set `name`, preparing it in `cache_dir` first if that was not done before.

    Args:
      options: `DataOptions` for a set with classes, `LandmarkOptions` for one with landmarks,
        `SequenceOptions` for one of sequences.

    Raises:
      UserError: for whatever is wrong with name, options or files.
    """
    if name in catalogue.REGISTERED:
        made = catalogue.REGISTERED[name]()
        if not isinstance(made, Dataset):
            raise UserError(f"dataset {name!r}: its function gave no medjax.Dataset")
        return made
    folder = Path(cache_dir) / runtime.SETS
    kind = builder_of(name, options)
    _check_paths(name, options)
    secret = (
        None
        if options.plain_ids
        else functools.cache(  # it is asked for at every row
            functools.partial(subjects.read_key, Path(cache_dir))
        )
    )
    mark = options.fingerprint(apart_from=Path(cache_dir))
    ready = folder / name / mark / str(kind.VERSION)
    _prepare(ready, lambda: _made(kind, options, mark, secret, folder), say)
    builder = _opened(ready)
    info = DatasetInfo.from_dict(dict(builder.info.metadata))
    names = [s for s in split_rules.SPLITS if s in builder.info.splits]
    records = {name: builder.as_data_source(name) for name in names}
    parts = columns.read(ready) or _read_columns(records)
    digests = {name: parts[name].texts["digest"] for name in names}
    rows = [(name, d) for name, some in digests.items() for d in some]
    again = split_rules.note_duplicates(*zip(*rows, strict=True))
    opened = {
        name: volumes.open_split(ready, name, parts[name])
        if volumes.are_in(ready)
        else _open(records[name], parts[name])
        for name in names
    }
    try:
        remarks = json.loads((ready / NOTES).read_text())
        notes = [*remarks["notes"], *_check(opened, info)]
    except UserError:
        shutil.rmtree(ready)
        raise
    notes += again
    if not info.pairing:
        notes += note_missing(info.name, info.landmarks, opened)
    made = Dataset(
        info,
        opened,
        digest_of(opened, list(digests.values())),
        tuple(notes),
        splits_drawn=remarks["splits_drawn"] or info.synthetic,
    )
    return pairing.open_pairs(made, options) if info.pairing else made


def builder_of(name: str, options: Options) -> Any:
    """The class that prepares the set `name`; raises UserError for a name that is not known."""
    known = catalogue.kind_of(options).builders()
    if name not in known:
        raise unknown("dataset", name, known)
    return known[name]


def check_read(name: str, options: Options, given: Iterable[str]) -> None:
    """Raises UserError if an option was `given` that the set does not read."""
    reads = () if name in catalogue.REGISTERED else builder_of(name, options).READS
    odd = next((option for option in given if option not in reads), None)
    if odd is not None:
        raise UserError(
            f"`{odd}` is not read by the set {name}; leave it out, or choose another `dataset`"
        )


def _check_paths(name: str, options: Options) -> None:
    if getattr(options, "image_size", 0) and "image_size" not in builder_of(name, options).READS:
        raise UserError(f"`image_size` is for image_folder; the images of {name} have one size")
    if options.data_dir and not Path(options.data_dir).exists():
        raise UserError(f"`data_dir={options.data_dir}`: no such file or folder")


def _made(
    kind: type, options: Options, mark: str, secret: subjects.Secret | None, folder: Path
) -> Any:
    from medjax.data.builders.base import DatasetBuilderConfig

    config = DatasetBuilderConfig(name=mark, options=options, secret=secret, out=sys.stdout)
    with _quietly():
        return kind(data_dir=str(folder), config=config, file_format="array_record")


def _opened(ready: Path) -> Any:
    import tensorflow_datasets as tfds

    with _quietly():
        return tfds.builder_from_directory(str(ready))


def _prepare(ready: Path, make: Callable[[], Any], say: Callable[[str], None]) -> None:
    if ready.exists():
        return
    ready.parent.mkdir(parents=True, exist_ok=True)
    with lock.hold(ready.parent / ".lock", wait=True):  # other processes may want the same set
        if not ready.exists():
            for cut_off in ready.parent.glob("incomplete.*"):  # of a process that was killed
                shutil.rmtree(cut_off, ignore_errors=True)
            say(f"preparing {ready.parent.parent.name} (once), into {ready}")
            with progress.alive("reading the files"):
                _write(make())


def _write(builder: Any) -> None:
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    try:
        with _quietly():
            builder.download_and_prepare(file_format="array_record")
    except RuntimeError as e:  # array_record has no exception of its own for it
        if "No space left" not in str(e):
            raise
        raise UserError(
            f"`cache_dir`: the disk is full while preparing {builder.data_dir}; "
            "make room or choose another"
        ) from e


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Holds back what tensorflow-datasets prints and logs; errors still come as exceptions."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with runtime.host().quiet():
            yield
    finally:
        logging.set_verbosity(before)


def _read_columns(records: Mapping[str, Any]) -> dict[str, SplitColumns]:
    """Of a set that was prepared before they stood apart: every example is read."""
    return {
        name: columns.collect(list(progress.track(part, total=len(part), what="opening")))
        for name, part in records.items()
    }


def _open(records: Any, part: SplitColumns) -> Split:
    """A split whose images stay in the file until they are asked for."""
    first = records[0]["image"]
    return Split(
        targets=part.targets,
        case_id=part.texts["case_id"],
        subject_id=part.texts["subject_id"],
        metadata=[json.loads(m) for m in part.texts["metadata"]],
        read=lambda i: records[i]["image"],
        image_shape=first.shape,
        image_dtype=first.dtype,
    )


def _check(splits: Mapping[str, Split], info: DatasetInfo) -> list[str]:
    """The rules that hold for every set, whoever built it; notes of what is allowed, but odd."""
    where = [name for name, s in splits.items() for _ in s.case_id]
    split_rules.check_leaks(where, [who for s in splits.values() for who in s.subject_id])
    if info.structures:
        check_structures(splits["train"]["voxels"], info)
    if info.box_classes:
        return note_absent(splits["train"]["box_label"], info)
    if not info.classes:
        return []
    labels = [int(y) for s in splits.values() for y in s["label"]]
    return split_rules.check_classes(where, labels, info.classes)

"""A prepared set, opened: columns in memory, images on demand."""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from medjax import lock
from medjax.data import splits as split_rules
from medjax.data.info import DatasetInfo
from medjax.data.options import DataOptions, LandmarkOptions, Options, SequenceOptions
from medjax.errors import UserError, unknown

_TEXTS = ("case_id", "subject_id", "digest", "metadata")


@dataclasses.dataclass(frozen=True)
class Split:
    """One split: n examples. `split[NAME]` is a column of targets, `[n, ...]`."""

    targets: Mapping[str, np.ndarray]
    case_id: list[str]
    subject_id: list[str]
    metadata: list[dict[str, str]]
    read: Callable[[int], np.ndarray]  # index -> image [*space, channel]
    image_shape: tuple[int, ...]
    image_dtype: np.dtype

    def __len__(self) -> int:
        return len(self.case_id)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.targets[name]

    @property
    def nbytes(self) -> int:
        """The size of all images in memory."""
        return len(self) * int(np.prod(self.image_shape)) * self.image_dtype.itemsize

    def images(self, index: Any) -> np.ndarray:
        """The images at `index`, stacked: `[len(index), *space, channel]`."""
        return np.stack([self.read(int(i)) for i in index])

    def first(self, count: int) -> "Split":
        """The first `count` examples; 0 is all."""
        return self.only(range(min(count, len(self)))) if count else self

    def only(self, index: Iterable[int]) -> "Split":
        """The examples at `index`, in that order."""
        rows = [int(i) for i in index]
        return dataclasses.replace(
            self, targets={k: v[rows] for k, v in self.targets.items()},
            case_id=[self.case_id[i] for i in rows],
            subject_id=[self.subject_id[i] for i in rows],
            metadata=[self.metadata[i] for i in rows], read=lambda i: self.read(rows[i]))

    def batch(self, index: Any, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """The images at `index`, and those columns; float64 becomes float32."""
        rows = np.asarray(index)
        picked = {name: self.targets[name][rows] for name in columns}
        return {"image": self.images(rows), **{
            k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in picked.items()}}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits of a set, its description, and what is worth knowing about it."""

    info: DatasetInfo
    splits: Mapping[str, Split]
    digest: str                  # changes with any case, subject, label, pixel or split
    notes: tuple[str, ...] = ()

    @property
    def report_split(self) -> str:
        """Where results are reported: test where there is one, else validation."""
        return "test" if "test" in self.splits else "validation"


def load(name: str, *, options: Options, cache_dir: str | Path,
         say: Callable[[str], None] = lambda line: None) -> Dataset:
    """Opens the set `name`, preparing it in `cache_dir` first if that was not done before.

    Args:
      options: `DataOptions` for a set with classes, `LandmarkOptions` for one with landmarks,
        `SequenceOptions` for one of sequences.

    Raises:
      UserError: for whatever is wrong with name, options or files.
    """
    folder = Path(cache_dir) / "datasets"
    kind, config = _builder(name, options)
    builder = _made(kind, config, folder)
    _prepare(builder, say)
    if not builder.info.splits:  # another process has prepared it since
        builder = _made(kind, config, folder)
    info = DatasetInfo.from_dict(dict(builder.info.metadata))
    found = {s: _open(builder.as_data_source(s)) for s in split_rules.SPLITS
             if s in builder.info.splits}
    rows = [(name, d) for name, (_, digests) in found.items() for d in digests]
    again = split_rules.duplicates(*zip(*rows, strict=True))
    opened = {name: split for name, (split, _) in found.items()}
    try:
        _check(opened, info)
    except UserError:
        shutil.rmtree(builder.data_dir)
        raise
    digest = hashlib.sha1(json.dumps([
        [name, s.case_id, s.subject_id, {k: v.tolist() for k, v in s.targets.items()}, digests]
        for name, (s, digests) in found.items()]).encode()).hexdigest()
    notes = tuple(f"{n} images of {b} stand in {a} too, pixel for pixel"
                  for (a, b), n in again.items())
    outside = {name: int(s["outside"].sum()) for name, s in opened.items() if info.landmarks}
    notes += tuple(f"{n} landmarks of {name} lie outside their image; they count as missing"
                   for name, n in outside.items() if n)
    return Dataset(info, opened, digest, notes)


def _builder(name: str, options: Options) -> tuple[type, Any]:
    """The builder's class, and its config."""
    from medjax.data.builders.base import Config

    kinds = _kinds(options)
    if name not in kinds:
        raise unknown("dataset", name, kinds)
    if isinstance(options, DataOptions) and options.image_size and name != "image_folder":
        raise UserError(f"--image_size is for image_folder; the images of {name} have one size")
    if options.data_dir and not Path(options.data_dir).exists():
        raise UserError(f"--data_dir={options.data_dir}: no such file or folder")
    return kinds[name], Config(name=options.fingerprint(), options=options)


def _made(kind: type, config: Any, folder: Path):
    with _quietly():
        return kind(data_dir=str(folder), config=config, file_format="array_record")


def _kinds(options: Options) -> dict[str, type]:
    if isinstance(options, LandmarkOptions):
        return _landmark_kinds()
    return _sequence_kinds() if isinstance(options, SequenceOptions) else _exam_kinds()


def _exam_kinds() -> dict[str, type]:
    from medjax.data.builders.brain_planes import BrainPlanes
    from medjax.data.builders.image_folder import ImageFolder
    from medjax.data.builders.medmnist import SETS, MedMNIST

    return {"brain_planes": BrainPlanes, "image_folder": ImageFolder, **_named(MedMNIST, SETS)}


def _landmark_kinds() -> dict[str, type]:
    from medjax.data.builders.landmarks import Landmarks
    from medjax.data.landmarks import SETS

    return _named(Landmarks, SETS)


def _sequence_kinds() -> dict[str, type]:
    from medjax.data.builders.sequences import Sequences
    from medjax.data.sequences import SETS

    return _named(Sequences, SETS)


def _named(kind: type, names: Iterable[str]) -> dict[str, type]:
    """A subclass a name: tensorflow-datasets reads the name from the class."""
    return {name: type(name, (kind,), {"name": name}, skip_registration=True) for name in names}


def _prepare(builder, say: Callable[[str], None]) -> None:
    done, folder = Path(builder.data_dir), Path(builder.data_dir).parent
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder / ".lock", wait=True):  # other processes may want the same set
        if not done.exists():
            _write(builder, say)


def _write(builder, say: Callable[[str], None]) -> None:
    import tensorflow_datasets as tfds

    say(f"preparing {builder.name} (once), into {builder.data_dir}")
    tfds.disable_progress_bar()
    try:
        with _quietly():
            builder.download_and_prepare(file_format="array_record")
    except RuntimeError as e:  # array_record has no exception of its own for it
        if "No space left" not in str(e):
            raise
        raise UserError(f"--cache_dir: the disk is full while preparing {builder.data_dir}; "
                        "make room or choose another") from e


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Holds back what tensorflow-datasets prints; errors still come as exceptions."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(before)


def _open(records) -> tuple[Split, list[str]]:
    """Reads the columns of a data source; images stay in the file until asked for."""
    columns = [{k: v for k, v in r.items() if k != "image"} for r in records]
    first = records[0]["image"]

    def text(key: str) -> list[str]:
        return [c[key].decode() if isinstance(c[key], bytes) else str(c[key]) for c in columns]

    split = Split(
        targets={k: np.array([c[k] for c in columns]) for k in columns[0] if k not in _TEXTS},
        case_id=text("case_id"),
        subject_id=text("subject_id"), metadata=[json.loads(m) for m in text("metadata")],
        read=lambda i: records[i]["image"], image_shape=first.shape, image_dtype=first.dtype)
    return split, text("digest")


def _check(splits: Mapping[str, Split], info: DatasetInfo) -> None:
    """The rules that hold for every set, whoever built it."""
    where = [name for name, s in splits.items() for _ in s.case_id]
    split_rules.check_leaks(where, [who for s in splits.values() for who in s.subject_id])
    if info.classes:
        labels = [int(y) for s in splits.values() for y in s["label"]]
        split_rules.check_classes(where, labels, info.classes)

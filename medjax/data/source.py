"""A prepared set, opened: columns in memory, images on demand."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from medjax import lock, progress, runtime
from medjax.data import catalogue, subjects, walk
from medjax.data import splits as split_rules
from medjax.data.info import NOTES, DatasetInfo
from medjax.data.landmarks.missing import note_missing
from medjax.data.options import Options
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
        rows = list(index)
        progress_rows = progress.track(rows, total=len(rows), what="loading")
        return np.stack([self.read(int(i)) for i in progress_rows])

    @classmethod
    def concatenate(cls, parts: Sequence["Split"]) -> "Split":
        """The examples of several splits of one set, one after the other."""
        first = parts[0]
        places = [(part, i) for part in parts for i in range(len(part))]

        def read(index: int) -> np.ndarray:
            part, i = places[index]
            return part.read(i)

        return dataclasses.replace(
            first,
            targets={k: np.concatenate([p.targets[k] for p in parts]) for k in first.targets},
            case_id=[c for p in parts for c in p.case_id],
            subject_id=[s for p in parts for s in p.subject_id],
            metadata=[m for p in parts for m in p.metadata],
            read=read,
        )

    def first(self, count: int) -> "Split":
        """The first `count` examples; 0 is all."""
        return self.only(range(min(count, len(self)))) if count else self

    def only(self, index: Iterable[int]) -> "Split":
        """The examples at `index`, in that order."""
        rows = [int(i) for i in index]
        return dataclasses.replace(
            self,
            targets={k: v[rows] for k, v in self.targets.items()},
            case_id=[self.case_id[i] for i in rows],
            subject_id=[self.subject_id[i] for i in rows],
            metadata=[self.metadata[i] for i in rows],
            read=lambda i: self.read(rows[i]),
        )

    def batch(self, index: Any, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """The images at `index`, and those columns; float64 becomes float32."""
        rows = np.asarray(index)
        picked = {name: self.targets[name][rows] for name in columns}
        return {
            "image": self.images(rows),
            **{k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in picked.items()},
        }


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The splits of a set, its description, and what is worth knowing about it."""

    info: DatasetInfo
    splits: Mapping[str, Split]
    digest: str  # changes with any case, subject, label, pixel or split
    notes: tuple[str, ...] = ()
    splits_drawn: bool = False  # by medjax, or of a set that it makes; else they are official
    pool: Split | None = None  # of a fold: all cases that folds are made of

    def __repr__(self) -> str:
        """Two lines, whatever it holds: a notebook prints them."""
        sizes = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
        shape = " x ".join(map(str, next(iter(self.splits.values())).image_shape))
        return f"medjax set {self.info.name}: {self.info.summary}; {sizes}\nimages: {shape}"

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        labels: Any,
        *,
        subjects: Sequence[Any] = (),
        classes: Sequence[str] = (),
        positive: str = "",
        case_ids: Sequence[Any] = (),
        split: Sequence[str] = (),
        split_seed: int = 0,
        spacing_mm: float | Sequence[float] = 0.0,
        channel_axis: bool | None = None,
        name: str = "arrays",
        **facts: Any,
    ) -> "Dataset":
        """A set of images in memory, with a class each.

        Args:
          images: `[n, *space]` or `[n, *space, channel]`, 2-D or 3-D, all of one shape; whole
            numbers (uint8, uint16, ...) or floating-point, float64 becoming float32.
          labels: `[n]`, class names, or whole numbers: those of `classes`, or names themselves.
          subjects: `[n]`, whose image it is: no subject is in two splits, and intervals are over
            subjects; empty: each image is its own.
          classes: names of the classes; empty: the labels themselves, sorted.
          positive: of two classes the one that is looked for; empty: the second.
          case_ids: `[n]`, a name for each image; empty: numbers.
          split: `[n]`, train, validation or test; empty: drawn by subject, about 70, 15 and 15 %.
          split_seed: draws the splits.
          spacing_mm: the size of a voxel, one number or one an axis; 0: not known.
          channel_axis: whether the last axis is that of channels; None: where there are five axes,
            or four of which the last has 1, 3 or 4 entries.
          name: of the set, in reports.
          facts: further fields of `DatasetInfo`: `modality`, `licence`, `citation`, ...

        Raises:
          UserError: if lengths, shapes or values do not go together; the first odd one is named.
        """
        from medjax.data import arrays

        return arrays.from_arrays(
            images,
            labels,
            classes=classes,
            positive=positive,
            spacing_mm=spacing_mm,
            channel_axis=channel_axis,
            subjects=subjects,
            case_ids=case_ids,
            split=split,
            split_seed=split_seed,
            name=name,
            **facts,
        )

    @classmethod
    def from_landmarks(
        cls,
        images: Any,
        landmarks: Any,
        *,
        spacing_mm: float | Sequence[float],
        names: Sequence[str] = (),
        **options: Any,
    ) -> "Dataset":
        """A set of images in memory, with landmarks.

        Images are kept in 8 bits, from the 0.5th to the 99.5th percentile of each, as new images
        are when a network answers; uint8 stays as it is.

        Args:
          images: as of `from_arrays`.
          landmarks: `[n, landmark, ndim]`, voxels in the order of the array's axes (row, column;
            not x, y), from the centre of the first voxel; NaN where a point is missing. Missing
            points, and those outside their image, are masked and counted in the notes.
          spacing_mm: the size of a voxel, one number or one an axis: errors are in mm.
          names: of the landmarks; empty: p1, p2, ...
          options: `subjects`, `case_ids`, `split`, ... of `from_arrays`.

        Raises:
          UserError: if lengths, shapes or values do not go together, the first odd one is named; or
            for a landmark that no training image has.
        """
        from medjax.data import arrays

        return arrays.from_landmarks(
            images, landmarks, spacing_mm=spacing_mm, names=names, **options
        )

    @classmethod
    def from_tfds(cls, source: Any, **options: Any) -> "Dataset":
        """A set of tensorflow-datasets; see `medjax.data.arrays.from_tfds`."""
        from medjax.data import arrays

        return arrays.from_tfds(source, **options)

    @classmethod
    def from_huggingface(cls, data: Any, **options: Any) -> "Dataset":
        """A set of Hugging Face's `datasets`; see `medjax.data.arrays.from_huggingface`."""
        from medjax.data import arrays

        return arrays.from_huggingface(data, **options)

    @property
    def report_split(self) -> str:
        """Where results are reported: test where there is one, else validation."""
        return "test" if "test" in self.splits else "validation"


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
    folder = Path(cache_dir) / "datasets"
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
    opened_splits = {
        s: _open(builder.as_data_source(s)) for s in split_rules.SPLITS if s in builder.info.splits
    }
    rows = [(name, d) for name, (_, digests) in opened_splits.items() for d in digests]
    again = split_rules.duplicates(*zip(*rows, strict=True))
    opened = {name: split for name, (split, _) in opened_splits.items()}
    try:
        remarks = json.loads((ready / NOTES).read_text())
        notes = [*remarks["notes"], *_check(opened, info)]
    except UserError:
        shutil.rmtree(ready)
        raise
    notes += [
        f"{walk.counted(n, 'image')} of {b} also in {a}, pixel for pixel"
        for (a, b), n in again.items()
    ]
    notes += note_missing(info.name, info.landmarks, {k: v.targets for k, v in opened.items()})
    return Dataset(
        info,
        opened,
        digest_of(opened, [d for _, d in opened_splits.values()]),
        tuple(notes),
        splits_drawn=remarks["splits_drawn"] or info.synthetic,
    )


def digest_of(splits: Mapping[str, Split], digests: Sequence[list[str]]) -> str:
    """Of all that results depend on; of subjects: who is the same, not how they are called."""
    first: dict[str, str] = {}
    for s in splits.values():
        for case, subject in zip(s.case_id, s.subject_id, strict=True):
            first.setdefault(subject, case)
    return hashlib.sha1(
        json.dumps(
            [
                [
                    name,
                    s.case_id,
                    [first[who] for who in s.subject_id],
                    {k: v.tolist() for k, v in s.targets.items()},
                    pixels,
                ]
                for (name, s), pixels in zip(splits.items(), digests, strict=True)
            ]
        ).encode()
    ).hexdigest()


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


def _open(records) -> tuple[Split, list[str]]:
    """Reads the columns of a data source; images stay in the file until asked for."""
    progress_rows = progress.track(records, total=len(records), what="opening")
    columns = [{k: v for k, v in r.items() if k != "image"} for r in progress_rows]
    first = records[0]["image"]

    def text(key: str) -> list[str]:
        return [c[key].decode() if isinstance(c[key], bytes) else str(c[key]) for c in columns]

    split = Split(
        targets={k: np.array([c[k] for c in columns]) for k in columns[0] if k not in _TEXTS},
        case_id=text("case_id"),
        subject_id=text("subject_id"),
        metadata=[json.loads(m) for m in text("metadata")],
        read=lambda i: records[i]["image"],
        image_shape=first.shape,
        image_dtype=first.dtype,
    )
    return split, text("digest")


def _check(splits: Mapping[str, Split], info: DatasetInfo) -> list[str]:
    """The rules that hold for every set, whoever built it; notes of what is allowed, but odd."""
    where = [name for name, s in splits.items() for _ in s.case_id]
    split_rules.check_leaks(where, [who for s in splits.values() for who in s.subject_id])
    if not info.classes:
        return []
    labels = [int(y) for s in splits.values() for y in s["label"]]
    return split_rules.check_classes(where, labels, info.classes)

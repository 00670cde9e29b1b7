"""What every builder has in common: features, checks and description."""

import collections
import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from medjax import progress, runtime
from medjax.data import columns, images, splits, subjects, walk
from medjax.data.info import NOTES, DatasetInfo
from medjax.data.options import Options
from medjax.errors import UserError

Item = TypeVar("Item")
Made = TypeVar("Made")


def _as_read(item: Any, content: Any) -> Any:
    """What a file has, as it is."""
    return content


@dataclasses.dataclass(frozen=True)
class Example:
    """One image with its targets, on its way into the prepared set."""

    image: np.ndarray  # [*space, channel]
    targets: Mapping[str, Any]  # what `target_features` names
    case_id: str
    subject_id: str
    origin: str  # for messages: a path, or a place in a file
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kept: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what no record holds


class Part(NamedTuple):
    """The examples of a split, and how many there may be."""

    size: int
    examples: Iterable[Example]


@dataclasses.dataclass(eq=False)
class DatasetBuilderConfig(tfds.core.BuilderConfig):
    """The options that a prepared set was made with; `name` is their fingerprint.

    Attributes:
      secret: hides the names of patients; None shows them.
      out: where progress is told.
    """

    options: Options = dataclasses.field(default_factory=Options)
    secret: Callable[[], bytes] | None = None
    out: TextIO = dataclasses.field(default_factory=lambda: sys.stdout)


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes examples as array_record. A subclass gives `describe` and `examples`."""

    VERSION = tfds.core.Version("1.2.0")  # 1.1.0 did not say whether splits were drawn
    READS: tuple[str, ...] = ()  # the options that it reads

    def __init__(self, **options: Any):
        self.notes: list[str] = []
        self.splits_drawn = False
        self._columns: dict[str, columns.SplitColumns] = {}
        self._bad: dict[str, str] = {}  # by file, as a file may be met twice
        super().__init__(**options)

    @property
    def options(self) -> Any:
        return self.builder_config.options

    @property
    def secret(self) -> Callable[[], bytes] | None:
        return self.builder_config.secret

    def describe(self) -> tuple[DatasetInfo, tuple[int | None, ...], Any]:
        """The description, the shape `[*space, channel]` of every image, and its dtype.

        A side that is None differs from image to image; then `keep` writes the images.
        """
        raise NotImplementedError

    def keep(self, split: str, example: "Example") -> None:
        """Writes an image of any size into the folder of the set."""
        raise NotImplementedError

    def examples(self, download: Callable[[str], Any]) -> dict[str, Part]:
        """The examples of each of the splits train, validation and test."""
        raise NotImplementedError

    def late_notes(self) -> list[str]:
        """What is known of the set when all of its examples have been made."""
        return []

    def parts(
        self,
        cases: Sequence[Any],
        who: subjects.Subjects,
        prepared: Callable[[list[Any]], Iterable[Example]],
    ) -> dict[str, Part]:
        """The examples of each split, of cases that know theirs or have it drawn by subject."""
        case_splits = splits.by_subject(cases, who, seed=self.options.split_seed)
        self.splits_drawn = not any(case.split for case in cases)
        pairs = [(case, name) for name, some in case_splits.items() for case in some]
        self.notes += [
            *who.notes,
            *subjects.check_patients(
                [case for case, _ in pairs],
                [name for _, name in pairs],
                who,
                wished=bool(self.options.subject_column),
            ),
        ]
        return {name: Part(len(some), prepared(some)) for name, some in case_splits.items()}

    def readable(
        self,
        items: Iterable[Item],
        read: Callable[[Item], Any],
        then: Callable[[Item, Any], Any] = _as_read,
        *,
        workers: int = 0,
    ) -> Iterator[Any]:
        """What `then` makes of each item and of what `read` finds in its file, in order.

        Files that cannot be read are left out, and told of, where `skip_bad` says so. Both
        functions run in so many threads at a time (0: one a core).
        """

        def attempt(item: Item) -> tuple[Any, UserError | None]:
            try:
                content = read(item)
            except UserError as e:
                return None, e
            return then(item, content), None

        for made, error in in_order(attempt, items, workers=workers or runtime.cores()):
            if error is None:
                yield made
            elif self.options.skip_bad:
                self._bad.setdefault(str(error).split(": ")[0], str(error))
            else:
                raise UserError(f"{error}; `skip_bad` leaves such files out, and counts them")

    def first_readable(
        self,
        items: Iterable[Item],
        read: Callable[[Item], Any],
        then: Callable[[Item, Any], Any] = _as_read,
    ) -> Any:
        """What `readable` gives of the first file that can be read; no other is read.

        Raises:
          UserError: if none can be read.
        """
        for made in self.readable(items, read, then, workers=1):
            return made
        such = walk.such_as(self._bad.values(), most=1)
        raise UserError(f"`data_dir={self.options.data_dir}`: no image can be read, such as {such}")

    def in_channels(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels `[..., channel]` in the channels that are wished for."""
        return images.in_channels(pixels, self.options.channels)

    def _info(self) -> tfds.core.DatasetInfo:
        info, shape, dtype = self.describe()
        features = tfds.features.FeaturesDict(
            {
                **(
                    {"image": tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")}
                    if None not in shape
                    else {}
                ),
                **target_features(info, len(shape) - 1),
                "case_id": tfds.features.Text(),
                "subject_id": tfds.features.Text(),
                "digest": tfds.features.Text(),
                "metadata": tfds.features.Text(),
            }
        )
        return tfds.core.DatasetInfo(
            builder=self,
            features=features,
            disable_shuffling=True,
            citation=info.citation,
            metadata=tfds.core.MetadataDict(info.to_dict()),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        splits = self.examples(dl_manager.download)
        return {name: self._generate_examples(name, part) for name, part in splits.items()}

    def _generate_examples(self, split: str, part: Part) -> Iterator[tuple[int, dict]]:
        info, shape, dtype = self.describe()
        key, rows = -1, []
        examples = progress.track(
            part.examples, total=part.size, what=f"preparing {split}", out=self.builder_config.out
        )
        for key, example in enumerate(examples):
            check(example, shape, dtype, info)
            rows.append(
                {
                    **example.targets,
                    "case_id": example.case_id,
                    "subject_id": example.subject_id,
                    "digest": hashlib.sha1(example.image.tobytes()).hexdigest(),
                    "metadata": json.dumps(dict(example.metadata)),
                }
            )
            if None in shape:
                self.keep(split, example)
                yield key, rows[-1]
            else:
                yield key, {"image": np.ascontiguousarray(example.image, dtype), **rows[-1]}
        if key < 0:
            raise UserError(
                f"{info.name}: no image of the split {split} can be read, such as "
                f"{walk.such_as(self._bad.values(), most=1)}"
            )
        collected, features = columns.collect(rows), self.info.features
        targets = {k: _as_stored(v, features[k]) for k, v in sorted(collected.targets.items())}
        self._columns[split] = collected._replace(targets=targets)

    def _log_download_bytes(self) -> None:
        """Says nothing: `source` tells what is prepared, and where."""

    def _log_download_done(self) -> None:
        """The same."""

    def _download_and_prepare(self, *args: Any, **options: Any) -> None:
        """Writes notes and columns into the same folder, so that all are there or nothing."""
        super()._download_and_prepare(*args, **options)
        bad = walk.note_of(self._bad.values(), "file", "left out that cannot be read", most=20)
        remarks = {
            "notes": [*self.notes, *self.late_notes(), *bad],
            "splits_drawn": self.splits_drawn,
        }
        Path(self.data_dir, NOTES).write_text(json.dumps(remarks))
        columns.write(Path(self.data_dir), self._columns)


def in_order(
    function: Callable[[Item], Made], items: Iterable[Item], *, workers: int
) -> Iterator[Made]:
    """As `map`, by so many threads; of results that wait for their turn there are no more."""
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque[Future[Made]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _as_stored(values: np.ndarray, feature: tfds.features.FeatureConnector) -> np.ndarray:
    """A column as reading the records gives it: floats pass through 32 bits there, and a number an
    example is one of Python's."""
    if values.dtype.kind == "f":
        values = values.astype(np.float32).astype(np.float64)
    return values if values.ndim == 1 else values.astype(feature.np_dtype)


def target_features(info: DatasetInfo, ndim: int) -> dict[str, tfds.features.FeatureConnector]:
    """A label where the set has classes, points and their geometry where it has landmarks, sizes
    and geometry where it has masks, marked frames where it has sequences; there `ndim` counts time
    too."""

    def tensor(*shape: int) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=np.float64)

    out: dict[str, Any] = {}
    if info.classes:
        out["label"] = tfds.features.ClassLabel(names=list(info.classes))
    if info.findings:
        out["findings"] = tensor(len(info.findings))
    if info.quantities:
        out["quantities"] = tensor(len(info.quantities))
    if info.landmarks and not info.pairing:
        out |= {
            "landmarks": tensor(len(info.landmarks), ndim),
            "to_world": tensor(ndim + 1, ndim + 1),
            "to_file": tensor(ndim + 1, ndim + 1),
            "true_file": tensor(len(info.landmarks), ndim),
            "true_mm": tensor(len(info.landmarks), ndim),
            "outside": tfds.features.Scalar(dtype=np.int32),
            "beyond": tfds.features.Scalar(dtype=np.int32),
            "box": tfds.features.Tensor(shape=(2, ndim), dtype=np.int32),
        }
    if info.structures or info.pairing:
        out |= {
            "size": tfds.features.Tensor(shape=(ndim,), dtype=np.int32),
            "to_index": tensor(ndim + 1, ndim + 1),
            "file_shape": tfds.features.Tensor(shape=(ndim,), dtype=np.int32),
            "file_world": tensor(ndim + 1, ndim + 1),
            "file_spacing": tensor(ndim),
            "oriented": tfds.features.Scalar(dtype=np.bool_),
            "voxels": tfds.features.Tensor(shape=(len(info.structures),), dtype=np.int64),
            "packed_bytes": tfds.features.Scalar(dtype=np.int64),
            "mask_hash": tfds.features.Scalar(dtype=np.int64),
        }
    if info.landmarks and info.pairing:
        out["points_vox"] = tensor(len(info.landmarks), ndim)
    if info.known_places:
        out["places_vox"] = tensor(info.known_places, ndim)
    if info.box_classes:
        out |= {
            "boxes": tfds.features.Tensor(shape=(None, 2 * ndim), dtype=np.float64),
            "box_label": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "file_boxes": tfds.features.Tensor(shape=(None, 2 * ndim), dtype=np.float64),
            "file_size": tfds.features.Tensor(shape=(ndim,), dtype=np.float32),
            "to_file": tensor(ndim + 1, ndim + 1),
            "voxel_mm": tensor(ndim),
        }
    if info.frames:
        out |= {
            "marks": tfds.features.Tensor(shape=(None, len(info.frames)), dtype=np.uint8),
            "length": tfds.features.Scalar(dtype=np.int32),
            "frame_ms": tfds.features.Scalar(dtype=np.float64),
        }
    return out


def check(example: Example, shape: tuple[int | None, ...], dtype: Any, info: DatasetInfo) -> None:
    """Raises UserError unless the example fits the set."""
    image = example.image
    if image.ndim != len(shape):
        raise UserError(
            f"{example.origin}: {image.ndim - 1} axes where the first image has "
            f"{len(shape) - 1}; keep pictures and volumes in sets of their own"
        )
    if image.shape[-1] != shape[-1]:
        raise UserError(
            f"{example.origin}: {image.shape[-1]} channels where the first image has "
            f"{shape[-1]}; give `channels=gray` or `channels=rgb` to convert all"
        )
    if any(side not in (None, n) for n, side in zip(image.shape, shape, strict=True)):
        raise UserError(
            f"{example.origin}: shape {image.shape[:-1]} where the first image has "
            f"{shape[:-1]}; give `image_size=N` to resize all"
        )
    label, last = example.targets.get("label", 0), max(len(info.classes) - 1, 0)
    if not 0 <= label <= last:
        raise UserError(
            f"{example.origin}: label {label} is out of range, there are classes 0 to {last}"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(f"{example.origin}: NaN or infinite pixels; mend or remove the image")
    if image.dtype != dtype:
        raise UserError(
            f"{example.origin}: pixels are {image.dtype} where the first image has "
            f"{np.dtype(dtype)}; convert the images to one kind"
        )

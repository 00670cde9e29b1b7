"""A set of examples that is open: columns of targets in memory, images on demand."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import progress
from medjax.data.info import DatasetInfo


def _read_row(read: Callable[[int], np.ndarray], rows: Sequence[int], index: int) -> np.ndarray:
    return read(rows[index])


@dataclasses.dataclass(frozen=True)
class Split:
    """One split: n examples. `split[NAME]` is a column of targets, `[n, ...]`.

    Columns that are as large as images, such as masks, are read `on_demand` as these are. Where
    images differ in size, `image_shape` holds the largest.
    """

    targets: Mapping[str, np.ndarray]
    case_id: list[str]
    subject_id: list[str]
    metadata: list[dict[str, str]]
    read: Callable[[int], np.ndarray]  # index -> image [*space, channel]
    image_shape: tuple[int, ...]
    image_dtype: np.dtype
    on_demand: Mapping[str, Callable[[int], np.ndarray]] = dataclasses.field(default_factory=dict)

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

        def read_column(name: str, index: int) -> np.ndarray:
            part, i = places[index]
            return part.on_demand[name](i)

        return dataclasses.replace(
            first,
            targets={k: np.concatenate([p.targets[k] for p in parts]) for k in first.targets},
            case_id=[c for p in parts for c in p.case_id],
            subject_id=[s for p in parts for s in p.subject_id],
            metadata=[m for p in parts for m in p.metadata],
            read=read,
            on_demand={name: functools.partial(read_column, name) for name in first.on_demand},
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
            on_demand={
                name: functools.partial(_read_row, column, rows)
                for name, column in self.on_demand.items()
            },
        )

    def batch(self, index: Any, columns: Iterable[str]) -> dict[str, np.ndarray]:
        """The images at `index`, and those columns; float64 becomes float32."""
        rows = np.asarray(index)
        picked = {
            name: np.stack([self.on_demand[name](int(i)) for i in rows])
            if name in self.on_demand
            else self.targets[name][rows]
            for name in columns
        }
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
          facts: further fields of `DatasetInfo`: `modality`, `licence`, `citation`, ..., and
            `ordered=True` where the classes are grades, in the order of `classes`.

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
    def from_masks(
        cls,
        images: Sequence[Any],
        masks: Sequence[Any],
        *,
        structures: Sequence[str] = (),
        spacing_mm: float | Sequence[float] = 0.0,
        **options: Any,
    ) -> "Dataset":
        """A set of images in memory, with a mask each; they may differ in size.

        Args:
          images: `n` of `[*space]` or `[*space, channel]`, 2-D or 3-D.
          masks: `n` of `[*space]`, whole numbers, 0 the background.
          structures: names of the values 1, 2, ...; empty: by the values that there are.
          spacing_mm: the size of a voxel, one number or one an axis; 0: not known, distances are in
            voxels.
          options: `scaling` of `MaskOptions` (`image` or `set`); `instances=True` where masks
            number single things; `subjects`, `case_ids`, `split`, ... of `from_arrays`.

        Raises:
          UserError: if lengths, shapes or values do not go together; or for a structure that no
            training mask has.
        """
        from medjax.data import mask_arrays

        return mask_arrays.from_masks(
            images, masks, structures=structures, spacing_mm=spacing_mm, **options
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

"""Sets from arrays in memory, from tensorflow-datasets and from Hugging Face's `datasets`."""

import dataclasses
import functools
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data import exams, splits, table, walk
from medjax.data.dataset import Dataset, Split, digest_of
from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import LandmarkCase
from medjax.data.landmarks.missing import note_missing
from medjax.errors import UserError, unknown

_CHANNELS = (1, 3, 4)  # what a last axis of four is taken for


def from_arrays(
    images: Any,
    labels: Any,
    *,
    classes: Sequence[str] = (),
    positive: str = "",
    spacing_mm: float | Sequence[float] = 0.0,
    channel_axis: bool | None = None,
    **options: Any,
) -> Dataset:
    """As `Dataset.from_arrays`; `options` are those of `assemble`."""
    pixels, notes = with_channel(_stack(images), channel_axis)
    _check_length(len(pixels), "labels", labels)
    names, numbers = _classes(labels, classes)
    return assemble(
        pixels,
        {"label": numbers},
        classes=names,
        positive=exams.positive_of(names, positive),
        spacing_mm=check_spacing(spacing_mm, pixels.ndim - 2) or None,
        notes=notes,
        **options,
    )


def from_landmarks(
    images: Any,
    landmarks: Any,
    *,
    spacing_mm: float | Sequence[float],
    names: Sequence[str] = (),
    channel_axis: bool | None = None,
    case_ids: Sequence[Any] = (),
    **options: Any,
) -> Dataset:
    """As `Dataset.from_landmarks`; further `options` are those of `assemble`."""
    pixels, notes = with_channel(_stack(images), channel_axis)
    _check_length(len(pixels), "landmarks", landmarks)
    cases = [str(c) for c in case_ids] if len(case_ids) else number_cases(len(pixels))
    shown = _landmark_names(landmarks, names)
    spacing = check_spacing(spacing_mm, pixels.ndim - 2)
    placed, targets = _place_points(pixels, landmarks, shown, spacing, cases)
    if pixels.dtype != placed.dtype:
        notes += [
            f"pixels are kept in 8 bits, not as {pixels.dtype}: of each image its 0.5th percentile "
            "is 0, its 99.5th 255"
        ]
    return assemble(placed, targets, case_ids=cases, landmarks=shown, notes=notes, **options)


def assemble(
    pixels: np.ndarray | Sequence[np.ndarray],
    targets: Mapping[str, np.ndarray],
    *,
    on_demand: Mapping[str, Callable[[int], np.ndarray]] | None = None,
    subjects: Sequence[Any] = (),
    case_ids: Sequence[Any] = (),
    split: Sequence[str] = (),
    split_seed: int = 0,
    name: str = "arrays",
    notes: Sequence[str] = (),
    **facts: Any,
) -> Dataset:
    """A set of images `[n, *space, channel]`, or `n` of any size, and columns `[n, ...]`.

    Args:
      on_demand: as of `Split`.
      subjects: `[n]`, whose image it is; empty: each is its own.
      case_ids: `[n]`; empty: numbers.
      split: `[n]`, train, validation or test; empty: drawn by subject, 70, 15 and 15 %.
      split_seed: draws the splits; name: of the set; notes: on it.
      facts: further fields of `DatasetInfo`.

    Raises:
      UserError: if lengths do not go together, or a subject is in two splits.
    """
    count = len(pixels)
    known = [f.name for f in dataclasses.fields(DatasetInfo)]
    odd = next((option for option in facts if option not in known), None)
    if odd is not None:
        raise unknown("option", odd, ["subjects", "case_ids", "split", "split_seed", *known])
    subjects, case_ids, split = (() if v is None else v for v in (subjects, case_ids, split))
    for column, values in (("subjects", subjects), ("case_ids", case_ids), ("split", split)):
        if len(values):
            _check_length(count, column, values)
    cases = [str(c) for c in case_ids] if len(case_ids) else number_cases(count)
    twice = next((c for c, n in Counter(cases).items() if n > 1), None)
    if twice is not None:
        raise UserError(f"from_arrays: the case_id {twice!r} stands twice; give each image its own")
    who = [table.tidy(str(s)) for s in subjects] if len(subjects) else cases
    unknown_subjects = [i for i, s in enumerate(subjects) if _is_nothing(s)]
    if unknown_subjects:
        raise UserError(
            f"from_arrays: {walk.counted(len(unknown_subjects), 'image')} without a subject, such "
            f"as image {unknown_subjects[0]}; give each one, or a name of its own where it is not "
            "known"
        )
    table.check_alike(who if len(subjects) else (), what="subjects")
    known_by = f"given, {len(set(who))}" if len(subjects) else ""
    info = DatasetInfo(name, subjects=known_by, **facts)
    labels = targets["label"] if info.classes else np.zeros(count, int)
    where = [splits.split_name(str(s), origin="from_arrays") for s in split] if len(split) else None
    chosen = splits.complete(where, who, labels.tolist(), seed=split_seed)
    splits.check_leaks(chosen, who)
    if info.classes:
        notes = [*notes, *splits.check_classes(chosen, labels.tolist(), info.classes)]
    everything = Split(
        targets=targets,
        case_id=cases,
        subject_id=who,
        metadata=[{} for _ in cases],
        read=lambda i: pixels[i],
        image_shape=tuple(map(int, np.max([p.shape for p in pixels], 0))),
        image_dtype=pixels[0].dtype,
        on_demand=on_demand or {},
    )
    rows = {s: [i for i, c in enumerate(chosen) if c == s] for s in splits.SPLITS if s in chosen}
    hashes = [hashlib.sha1(np.ascontiguousarray(p).tobytes()).hexdigest() for p in pixels]
    parts = {name: everything.only(index) for name, index in rows.items()}
    again = splits.note_duplicates(chosen, hashes)
    notes = [*notes, *note_missing(name, info.landmarks, parts), *again]
    digest = digest_of(parts, [[hashes[i] for i in index] for index in rows.values()])
    return Dataset(info, parts, digest, tuple(notes), splits_drawn=not len(split))


def _check_length(count: int, column: str, values: Any) -> None:
    if len(values) != count:
        raise UserError(f"from_arrays: {count} images, but {len(values)} {column}")


def from_tfds(
    source: Any, *, image: str = "image", label: str = "label", subject: str = "", **options: Any
) -> Dataset:
    """A set of tensorflow-datasets, read without TensorFlow, as `from_arrays` takes it.

    Args:
      source: the name of a set that is prepared, or can be; or a builder.
      image, label, subject: the features that hold them; no subject: each image is its own.
      options: of `tfds.builder`, as `data_dir`; and of `from_arrays`.

    Raises:
      UserError: if the set lacks a feature, or has no split called train.
    """
    import tensorflow_datasets as tfds

    where = {k: options.pop(k) for k in ("data_dir",) if k in options}
    builder = tfds.builder(source, **where) if isinstance(source, str) else source
    builder.download_and_prepare(file_format="array_record")
    features = builder.info.features
    _check_columns(str(builder.name), features, image, label, subject)
    rows = [(s, row) for s in builder.info.splits for row in builder.as_data_source(split=s)]
    classes = getattr(features[label], "names", ())
    return _from_rows(builder.name, rows, (image, label, subject), classes, options)


def from_huggingface(
    data: Any, *, image: str = "image", label: str = "label", subject: str = "", **options: Any
) -> Dataset:
    """A set of Hugging Face's `datasets`, as `from_arrays` takes it.

    Args:
      data: a `datasets.Dataset`, whose splits are then drawn, or a `DatasetDict`.
      image, label, subject: the columns that hold them; no subject: each image is its own.
      options: of `from_arrays`.

    Raises:
      UserError: if the set lacks a column.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"": data}
    features = next(iter(parts.values())).features
    _check_columns("the set", features, image, label, subject)
    rows = [(s, row) for s, part in parts.items() for row in part]
    classes = getattr(features[label], "names", ())
    return _from_rows("huggingface", rows, (image, label, subject), classes, options)


def _from_rows(
    name: str,
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    columns: tuple[str, str, str],
    classes: Iterable[str],
    options: dict[str, Any],
) -> Dataset:
    """Rows of (split, columns) as a set; all images must have one shape."""
    image, label, subject = columns
    pixels = [_decode(row[image]) for _, row in rows]
    odd = next((p.shape for p in pixels if p.shape != pixels[0].shape), None)
    if odd is not None:
        raise UserError(
            f"{name}: images of the shapes {pixels[0].shape} and {odd}; bring them to one first"
        )
    given = {
        "subjects": [_text(row[subject]) for _, row in rows] if subject else (),
        "split": [s for s, _ in rows] if rows and rows[0][0] else (),
        "classes": tuple(classes),
        "name": name,
    }
    labels = [row[label] for _, row in rows]
    return from_arrays(np.stack(pixels), labels, **{**given, **options})


def _decode(image: Any) -> np.ndarray:
    """Pixels of an array, or of a picture of Pillow: those of a palette are colours, not places in
    it, and those of one bit black and white."""
    mode = getattr(image, "mode", "")
    wanted = {"P": "RGB", "PA": "RGB", "1": "L"}.get(mode)
    return np.asarray(image.convert(wanted) if wanted else image)


def _check_columns(name: str, features: Any, *columns: str) -> None:
    for column in filter(None, columns):
        if column not in features:
            raise UserError(f"{name}: has no {column!r}; it has {', '.join(features)}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def number_cases(count: int) -> list[str]:
    """Names of cases that sort as they stand."""
    return [f"{i:0{len(str(max(count - 1, 1)))}d}" for i in range(count)]


def _stack(images: Any) -> np.ndarray:
    try:
        return np.asarray(images)
    except ValueError:
        raise UserError("from_arrays: images of several shapes; bring them to one first") from None


def with_channel(images: np.ndarray, channel_axis: bool | None) -> tuple[np.ndarray, list[str]]:
    """Images with an axis of channels, and what was assumed of it."""
    if images.ndim not in (3, 4, 5) or not images.size or images.dtype.kind not in "uif":
        raise UserError(
            f"from_arrays: images have the shape {images.shape} and type {images.dtype}; give "
            "numbers [n, height, width], [n, depth, height, width], or either with a channel axis"
        )
    last = images.ndim == 5 or (images.ndim == 4 and images.shape[-1] in _CHANNELS)
    pixels = images if (last if channel_axis is None else channel_axis) else images[..., None]
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        odd = int(np.argwhere(~np.isfinite(pixels))[0][0])
        raise UserError(f"from_arrays: image {odd} has NaN or infinite pixels; mend or remove it")
    notes = []
    if channel_axis is None and pixels.ndim == 5 and pixels.shape[1] in _CHANNELS:
        slices = walk.counted(pixels.shape[1], "slice")
        notes = [
            f"images {images.shape[1:]} are read as volumes of {slices}; "
            "if that axis is of channels, move it to the end: np.moveaxis(images, 1, -1)"
        ]
    return pixels.astype(np.float32) if pixels.dtype == np.float64 else pixels, notes


def check_spacing(spacing_mm: float | Sequence[float], ndim: int) -> tuple[float, ...]:
    """The size of a voxel along each axis; empty where it is not known."""
    try:
        given = tuple(np.atleast_1d(np.asarray(spacing_mm, float)).tolist())
    except (TypeError, ValueError):
        raise UserError(f"from_arrays: spacing_mm={spacing_mm!r}: give numbers, in mm") from None
    spacing = given * ndim if len(given) == 1 else given
    if len(spacing) != ndim or not all(0 <= s < math.inf for s in spacing):
        raise UserError(
            f"from_arrays: spacing_mm={given}: give one size above 0, or one for each axis"
        )
    return spacing if all(spacing) else ()


def _classes(labels: Any, classes: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes, and the number of each image's."""
    given = np.asarray(labels)
    _check_once("class", classes)
    if given.dtype.kind == "f" and (given == np.rint(given)).all():
        given = given.astype(int)
    if given.dtype.kind == "f":
        raise UserError("from_arrays: labels are not whole numbers; give a class for each image")
    if given.ndim != 1:
        raise UserError(f"from_arrays: labels have the shape {given.shape}; give one an image")
    if given.dtype.kind in "iub":
        if not len(classes):
            values, numbers = np.unique(given, return_inverse=True)
            return tuple(map(str, values.tolist())), numbers
        outside = np.flatnonzero((given < 0) | (given >= len(classes)))
        if len(outside):
            raise UserError(
                f"from_arrays: labels must be 0 to {len(classes) - 1}, of the classes "
                f"{', '.join(map(str, classes))}; that of image {outside[0]} is {given[outside[0]]}"
            )
        return tuple(map(str, classes)), given.astype(int)
    nothing = next((i for i, v in enumerate(given.tolist()) if _is_nothing(v)), None)
    if nothing is not None:
        raise UserError(f"from_arrays: image {nothing} has no label; give it one, or leave it out")
    texts = [table.tidy(str(v)) for v in given.tolist()]
    table.check_alike(set(texts), what="classes")
    names = tuple(map(str, classes)) or tuple(sorted(set(texts), key=walk.natural))
    odd = next((t for t in texts if t not in names), None)
    if odd is not None:
        raise UserError(f"from_arrays: label {odd!r} is none of the classes {', '.join(names)}")
    return names, np.array([names.index(t) for t in texts])


def _is_nothing(label: Any) -> bool:
    """None, an empty text, NaN, or what pandas has for them."""
    nothing = label is None or type(label).__name__ in ("NAType", "NaTType")
    return nothing or str(label).strip() in ("", "nan")


def _check_once(what: str, names: Sequence[str]) -> None:
    twice = next((n for n, count in Counter(map(str, names)).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"from_arrays: the {what} {twice!r} stands twice; give each its own name")


def _landmark_names(landmarks: Any, names: Sequence[str]) -> tuple[str, ...]:
    points = np.asarray(landmarks)
    _check_once("landmark", names)
    if points.ndim != 3 or (len(names) and len(names) != points.shape[1]):
        raise UserError(
            f"from_landmarks: landmarks have the shape {points.shape}"
            f"{f', but {len(names)} names' if len(names) else ''}; give [n, landmark, ndim]"
        )
    return tuple(map(str, names)) or tuple(f"p{i}" for i in range(1, points.shape[1] + 1))


def _place_points(
    pixels: np.ndarray,
    landmarks: Any,
    names: tuple[str, ...],
    spacing: tuple[float, ...],
    cases: Sequence[str],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images and points as a prepared set has them, in 8 bits: as its network sees new images."""
    from medjax.data.builders.landmarks import prepare

    points = np.asarray(landmarks, float)
    if not spacing:
        raise UserError("from_landmarks: errors are in mm; give a positive spacing_mm")
    if max(spacing) - min(spacing) > 1e-3 * max(spacing):  # which new arrays could not tell
        raise UserError(
            f"from_landmarks: spacing_mm={spacing}: sides of voxels differ; bring images and "
            "points to one size first, as by scipy.ndimage.zoom, or give files that tell theirs"
        )
    if points.shape[-1] != pixels.ndim - 2:
        raise UserError(
            f"from_arrays: points with {points.shape[-1]} coordinates in images with "
            f"{pixels.ndim - 2} axes"
        )
    examples = []
    for case_id, image, where in zip(cases, pixels, points, strict=True):
        named = {n: p.tolist() for n, p in zip(names, where, strict=True) if not np.isnan(p).any()}
        axes = "yx" if image.ndim == 3 else "zyx"
        read = functools.partial(RawImage, image, spacing, axes=axes)
        case = LandmarkCase(read, f"image {case_id}", case_id, "", None, named, "voxel")
        examples.append(prepare(case, names, shape=image.shape[:-1], grid_mm=0.0))
    targets = {
        k: np.stack([np.asarray(e.targets[k]) for e in examples]) for k in examples[0].targets
    }
    return np.stack([e.image for e in examples]), targets

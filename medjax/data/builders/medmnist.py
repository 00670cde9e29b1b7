"""MedMNIST v2 (Yang et al., Scientific Data 10:41, 2023), 2-D and 3-D, from its `.npz` layout."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medjax.data import exams, images, subjects
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.info import DatasetInfo
from medjax.data.medmnist_sets import SETS, SEVERAL, base_of, ndim_of
from medjax.errors import UserError

_CITATION = (
    "Yang et al., MedMNIST v2: a large-scale lightweight benchmark for 2D and 3D "
    "biomedical image classification. Scientific Data 10:41, 2023."
)
_RECORD = "https://zenodo.org/record/6496656/files/{}.npz?download=1"
_COLOUR = ("pathmnist", "dermamnist", "retinamnist", "bloodmnist")
_ORDERED = ("retinamnist",)  # whose grades have an order


class MedMNIST(Builder, skip_registration=True):  # type: ignore[call-arg]
    """One set of MedMNIST; the class attribute `name` says which. It has no subject names."""

    READS = ("data_dir", "channels", "positive_class", "image_size")

    def describe(self):
        base = base_of(self.name)
        modality, _, classes = SETS[base]
        licence = "CC BY-NC 4.0" if base == "dermamnist" else "CC BY 4.0"
        info = DatasetInfo(
            self.name,
            () if base in SEVERAL else classes,
            findings=classes if base in SEVERAL else (),
            modality=modality,
            licence=licence,
            citation=_CITATION,
            ordered=base in _ORDERED,
            positive=exams.positive_of(classes, self.options.positive_class),
        )
        if not self.options.data_dir:
            shape = (self.options.image_size or 28,) * ndim_of(self.name)
            stored = 3 if base in _COLOUR else 1
            channels = {"gray": 1, "rgb": 3}.get(self.options.channels, stored)
            return info, (*shape, channels), np.uint8
        path = _local_file(self.options.data_dir, self.name)
        first = _with_channel(_open(path)["train_images"], self.name, path)[:1]
        if first.dtype != np.uint8:
            raise UserError(f"{path}: images of the type {first.dtype}; MedMNIST has uint8")
        return info, self._arrange(first[0]).shape, np.uint8

    def examples(self, download):
        folder = self.options.data_dir
        path = _local_file(folder, self.name) if folder else self._fetch(download)
        names = {"train": "train", "val": "validation", "test": "test"}
        arrays = _open(path)
        base = base_of(self.name)
        columns = len(SETS[base][2]) if base in SEVERAL else 1
        splits = {
            name: (
                _with_channel(arrays[f"{key}_images"], self.name, path),
                _integer_labels(arrays[f"{key}_labels"], path, columns=columns),
            )
            for key, name in names.items()
            if f"{key}_images" in arrays
        }
        shapes = {images.shape[1:] for images, _ in splits.values()}
        if len(shapes) > 1:
            raise UserError(
                f"{path}: its splits have images of {' and '.join(map(str, shapes))}; "
                "a set has one shape"
            )
        self.notes.append(subjects.UNKNOWN)
        return {
            name: Part(len(part[1]), self._rows(name, *part, path)) for name, part in splits.items()
        }

    def _rows(self, split: str, images, labels, path: Path) -> Iterator[Example]:
        if not len(images):
            raise UserError(f"{path}: no images in {split}")
        if len(images) != len(labels):
            raise UserError(f"{path}: {len(images)} images but {len(labels)} labels in {split}")
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            case = f"{split}_{i:05d}"
            yield Example(
                self._arrange(image),
                {"label": int(label)} if label.ndim == 0 else {"findings": label.astype(float)},
                case,
                case,
                origin=f"{path}, {split} image {i}",
            )

    def _arrange(self, image: np.ndarray) -> np.ndarray:
        """An image in the channels and of the size that are wished for."""
        pixels, side = self.in_channels(image), self.options.image_size
        return images.resize(pixels, (side,) * (pixels.ndim - 1)) if side else pixels

    def _fetch(self, download) -> Path:
        if self.name not in SETS:
            raise UserError(
                f"{self.name} is not downloaded: fetch {self.name}.npz and name its folder with "
                "`data_dir`"
            )
        url = _RECORD.format(self.name)
        try:
            path = Path(download(url))
        except Exception as e:
            raise UserError(
                f"could not download {url} ({type(e).__name__}); fetch it elsewhere "
                "and name its folder with `data_dir`"
            ) from e
        if hashlib.md5(path.read_bytes()).hexdigest() != SETS[self.name][1]:
            raise UserError(f"{path}: not the published file (MD5 differs); delete it, try again")
        return path


def _local_file(data_dir: str, name: str) -> Path:
    """`data_dir` itself if it is a file, else `<name>.npz` in it."""
    path = Path(data_dir)
    if not path.exists():
        raise UserError(f"`data_dir={data_dir}`: no such file or folder")
    path = path if path.is_file() else path / f"{name}.npz"
    if not path.exists():
        raise UserError(f"`data_dir={data_dir}`: holds no {name}.npz")
    return path


def _open(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, read whole; never runs a pickle. It may lack the test split."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            held_back = not any(name.startswith("test_") for name in stored.files)
            parts = ("train", "val") if held_back else ("train", "val", "test")
            wanted = {f"{part}_{what}" for part in parts for what in ("images", "labels")}
            missing = wanted - set(stored.files)
            arrays = {name: stored[name] for name in wanted - missing}
    except Exception as e:
        raise UserError(f"{path}: not a readable .npz file ({e})") from e
    if missing:
        raise UserError(f"{path}: lacks {', '.join(sorted(missing))}; not the MedMNIST layout")
    return arrays


def _with_channel(images: np.ndarray, name: str, path: Path) -> np.ndarray:
    """`[n, *space]` gets a channel axis; `[n, *space, 1 or 3]` has one.

    Raises:
      UserError: for anything else, such as channels before the axes of space.
    """
    space = ndim_of(name)
    if not images.size:
        raise UserError(f"{path}: a split has no images; it is no file of MedMNIST")
    if images.ndim == space + 1:
        return images[..., None]
    if images.ndim != space + 2 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{path}: images of shape {images.shape}; they must be [n, "
            f"{', '.join('side' for _ in range(space))}], or have 1 or 3 channels as "
            "their last axis"
        )
    return images


def _integer_labels(labels: np.ndarray, path: Path, *, columns: int) -> np.ndarray:
    """Labels as whole numbers: `[n]`, or `[n, columns]` of several; raises UserError if one is
    none."""
    if columns > 1 and labels.shape[1:] != (columns,):
        raise UserError(
            f"{path}: labels of shape {labels.shape}; each image must have {columns} findings"
        )
    if not labels.ndim or not labels.size or labels.size != columns * len(labels):
        raise UserError(f"{path}: labels of shape {labels.shape}; each image must have one")
    if labels.dtype.kind not in "uif":
        raise UserError(f"{path}: labels of the type {labels.dtype}; they must be whole numbers")
    flat = labels.reshape(len(labels), -1)
    is_integer = np.isfinite(flat) & (flat == np.rint(flat))
    if not is_integer.all():
        raise UserError(f"{path}: labels that are no whole numbers, such as {flat[~is_integer][0]}")
    if columns > 1 and not np.isin(flat, (0, 1)).all():
        raise UserError(f"{path}: findings are 1 or 0; there is {flat.max():g}")
    return (flat if columns > 1 else flat[:, 0]).astype(np.int64)

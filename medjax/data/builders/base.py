"""What every builder has in common: features, checks and description."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from medjax.data.info import DatasetInfo
from medjax.data.options import Options
from medjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Example:
    """One image with its targets, on its way into the prepared set."""

    image: np.ndarray  # [*space, channel]
    targets: Mapping[str, Any]  # what `target_features` names
    case_id: str
    subject_id: str
    origin: str        # for messages: a path, or a place in a file
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """The options that a prepared set was made with; `name` is their fingerprint."""

    options: Options = dataclasses.field(default_factory=Options)


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Writes examples as array_record. A subclass gives `describe` and `examples`."""

    VERSION = tfds.core.Version("1.0.0")

    @property
    def options(self) -> Any:
        return self.builder_config.options

    def describe(self) -> tuple[DatasetInfo, tuple[int, ...], Any]:
        """The description, the shape `[*space, channel]` of every image, and its dtype."""
        raise NotImplementedError

    def examples(self, download) -> dict[str, Iterable[Example]]:
        """The examples of each of the splits train, validation and test."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        info, shape, dtype = self.describe()
        features = tfds.features.FeaturesDict({
            "image": tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes"),
            **target_features(info, len(shape) - 1),
            "case_id": tfds.features.Text(),
            "subject_id": tfds.features.Text(),
            "digest": tfds.features.Text(),
            "metadata": tfds.features.Text(),
        })
        return tfds.core.DatasetInfo(
            builder=self, features=features, disable_shuffling=True, citation=info.citation,
            metadata=tfds.core.MetadataDict(info.to_dict()))

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        splits = self.examples(dl_manager.download)
        return {name: self._generate_examples(found) for name, found in splits.items()}

    def _generate_examples(self, examples: Iterable[Example]) -> Iterator[tuple[int, dict]]:
        info, shape, dtype = self.describe()
        for key, example in enumerate(examples):
            check(example, shape, dtype, info)
            yield key, {
                "image": np.ascontiguousarray(example.image, dtype),
                **example.targets,
                "case_id": example.case_id,
                "subject_id": example.subject_id,
                "digest": hashlib.sha1(example.image.tobytes()).hexdigest(),
                "metadata": json.dumps(dict(example.metadata)),
            }


def target_features(info: DatasetInfo, ndim: int) -> dict[str, tfds.features.FeatureConnector]:
    """A label where the set has classes, points and their geometry where it has landmarks, marked
    frames where it has sequences; there `ndim` counts time too."""
    def tensor(*shape: int) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=np.float64)

    out: dict[str, Any] = {}
    if info.classes:
        out["label"] = tfds.features.ClassLabel(names=list(info.classes))
    if info.landmarks:
        out |= {"landmarks": tensor(len(info.landmarks), ndim),
                "to_world": tensor(ndim + 1, ndim + 1), "to_file": tensor(ndim + 1, ndim + 1),
                "outside": tfds.features.Scalar(dtype=np.int32),
                "box": tfds.features.Tensor(shape=(2, ndim), dtype=np.int32)}
    if info.frames:
        out |= {"marks": tfds.features.Tensor(shape=(None, len(info.frames)), dtype=np.uint8),
                "length": tfds.features.Scalar(dtype=np.int32),
                "frame_ms": tfds.features.Scalar(dtype=np.float64)}
    return out


def check(example: Example, shape: tuple[int, ...], dtype: Any, info: DatasetInfo) -> None:
    """Raises UserError unless the example fits the set."""
    image = example.image
    if image.ndim != len(shape):
        raise UserError(f"{example.origin}: {image.ndim - 1} axes where the first image has "
                        f"{len(shape) - 1}; keep pictures and volumes in sets of their own")
    if image.shape[-1] != shape[-1]:
        raise UserError(f"{example.origin}: {image.shape[-1]} channels where the first image has "
                        f"{shape[-1]}; convert the images to one kind")
    if image.shape != shape:
        raise UserError(f"{example.origin}: shape {image.shape[:-1]} where the first image has "
                        f"{shape[:-1]}; give --image_size=N to resize all")
    label, last = example.targets.get("label", 0), max(len(info.classes) - 1, 0)
    if not 0 <= label <= last:
        raise UserError(f"{example.origin}: label {label} is out of range, "
                        f"there are classes 0 to {last}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise UserError(f"{example.origin}: NaN or infinite pixels; mend or remove the image")
    if image.dtype != dtype:
        raise UserError(f"{example.origin}: pixels are {image.dtype} where the first image has "
                        f"{np.dtype(dtype)}; convert the images to one kind")

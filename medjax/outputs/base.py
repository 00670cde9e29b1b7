"""What a network was trained on, and new images made ready for it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.data import images
from medjax.data.info import DatasetInfo
from medjax.data.source import Dataset, Split
from medjax.ops.preprocess import Preprocessing

Weights = tuple[Any, Any]  # parameters and batch statistics, with a leading seed axis


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What every predictor knows of its training; plain data, as it stands in a bundle.

    Attributes:
      info: of the set: its classes, landmarks or frames, its licence and whom to cite.
      preprocessing: how pixels are scaled.
      image_shape: of one prepared example, `[*space, channel]`; of a sequence with its time.
      image_dtype: of its pixels.
      window: intensities that become black and white; empty: percentiles of each image.
      seeds: so many models answer together.
      channels: `gray` or `rgb`, that all images were converted to; empty: none were.
    """

    info: DatasetInfo
    preprocessing: Preprocessing
    image_shape: tuple[int, ...]
    image_dtype: str
    window: tuple[float, ...] = ()
    seeds: int = 1
    channels: str = ""


class ImageHints(NamedTuple):
    """What a user may say about images that do not say it themselves.

    Attributes:
      spacing_mm: the size of a pixel; 0: not known.
      frame_ms: from one frame to the next; 0: not known.
      resize: images of another shape than those of the training are brought to it.
      limit_bytes: an image that is larger once it is decoded is refused.
      points_mm: by case, `[landmark, ndim]`, where a first look has found the landmarks of a
        network that was trained on images in one pose.
    """

    spacing_mm: float = 0.0
    frame_ms: float = 0.0
    resize: bool = False
    points_mm: Mapping[str, np.ndarray] = {}
    limit_bytes: int = images.LIMIT_BYTES


NO_HINTS = ImageHints()


class PreparedImage(NamedTuple):
    """One image or sequence, prepared; `targets` are the columns that a `Split` has of it."""

    image: np.ndarray
    case_id: str
    targets: Mapping[str, Any] = {}


def describe_model(dataset: Dataset, preprocessing: Preprocessing, config: Any) -> ModelSpec:
    """What is known when training begins; `config` is that of an experiment."""
    train = dataset.splits["train"]
    return ModelSpec(
        dataset.info,
        preprocessing,
        train.image_shape,
        str(train.image_dtype),
        tuple(getattr(config.data, "window", ())),
        config.training.seeds,
        config.data.channels,
    )


def symbols(shape: tuple[int, ...]) -> str:
    """Any number of examples of this shape."""
    return ", ".join(["b", *map(str, shape)])


def split_of(ready: Sequence[PreparedImage]) -> Split:
    """New images as a split whose reference is empty; all have one shape."""
    names = [r.case_id for r in ready]
    return Split(
        targets={k: np.stack([r.targets[k] for r in ready]) for k in ready[0].targets},
        case_id=names,
        subject_id=names,
        metadata=[{} for _ in ready],
        read=lambda i: ready[i].image,
        image_shape=ready[0].image.shape,
        image_dtype=ready[0].image.dtype,
    )

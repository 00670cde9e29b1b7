"""Exam images to the probability of each class."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax import models
from medjax.config import option
from medjax.data import exams, geometry, images
from medjax.data.source import Split
from medjax.errors import UserError
from medjax.evaluation import plot
from medjax.ops.augment import Augmentation
from medjax.outputs.base import NO_HINTS, ImageHints, ModelSpec, PreparedImage, Weights, symbols
from medjax.tasks.classification import task as classification
from medjax.train import feed, mesh, step
from medjax.typing import Array


class ClassProbabilities(NamedTuple):
    """What one image shows."""

    case_id: str
    probability: dict[str, float]

    def rows(self) -> list[dict[str, Any]]:
        """For `predictions.csv`."""
        likeliest = max(self.probability, key=lambda c: self.probability[c])
        return [
            {
                "case_id": self.case_id,
                "class": likeliest,
                **{f"p_{name}": p for name, p in self.probability.items()},
            }
        ]


@dataclasses.dataclass(frozen=True)
class ClassificationPredictor:
    """How images are classified; the fields are flags of `experiments.classify`.

    Attributes:
      model, dtype: the network.
      views: answers are the mean over so many views, the first the image as it is...
      augmentation: ...the others varied so; of the training.
      image_size, fit: as of `DataOptions`, of the training; 0: images have to fit.
    """

    model: str = option("cnn", "the network", choices=tuple(models.CLASSIFIERS), kept=True)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    views: int = option(1, "predictions are the mean over so many random views", least=1)
    augmentation: Augmentation = classification.NO_AUGMENTATION
    image_size: int = 0
    fit: str = "stretch"

    def network(self, trained: ModelSpec, *, dropout: float = 0.0) -> Any:
        """The network alone."""
        return models.classifier(
            self.model, num_classes=len(trained.info.classes), dropout=dropout, dtype=self.dtype
        )

    def task(
        self, network: Any, trained: ModelSpec, **training: Any
    ) -> classification.ClassificationTask:
        """What the network does; `training` are options of `tasks.classification.make`."""
        return classification.make(
            network,
            num_classes=len(trained.info.classes),
            preprocessing=trained.preprocessing,
            augmentation=self.augmentation,
            views=self.views,
            voxel=trained.info.spacing_mm or (),
            **training,
        )

    def footprint(self, trained: ModelSpec) -> int:
        """About how many numbers an answer takes, for bounds on what strangers wrote."""
        return self.views * math.prod(trained.image_shape)

    def init(self, key: Array, trained: ModelSpec) -> Weights:
        """Weights of one seed, before any training."""
        blank = jnp.zeros((1, *trained.image_shape))
        made = self.network(trained).init(key, blank, train=False)
        return made["params"], made.get("batch_stats", {})

    def ready(
        self, raw_image: images.RawImage, trained: ModelSpec, *, case_id: str, wishes: ImageHints
    ) -> PreparedImage:
        """An image as the network takes it; raises UserError if it does not fit."""
        raw_image = raw_image._replace(
            pixels=images.in_channels(raw_image.pixels, trained.channels)
        )
        pixels, want = raw_image.pixels, trained.image_shape
        if pixels.ndim != len(want) or pixels.shape[-1] != want[-1]:
            raise UserError(
                f"{case_id}: {_kind(pixels.shape)}; the model is for {_kind(want)}: convert it"
            )
        if str(pixels.dtype) != trained.image_dtype:
            raise UserError(
                f"{case_id}: its pixels are {pixels.dtype}, those of the training "
                f"were {trained.image_dtype}: convert it"
            )
        info = trained.info
        pixels = exams.arrange(
            raw_image,
            exams.Arrangement(
                want[:-1] if self.image_size or info.resampled or wishes.resize else (),
                info.spacing_mm if info.resampled else None,
                bool(info.orientation),
                self.fit,
            ),
            origin=case_id,
        )
        if pixels.shape != want:
            raise UserError(
                f"{case_id}: has the shape {pixels.shape[:-1]}, the images of the "
                f"training had {want[:-1]}: crop it to what they show, or give "
                "`resize`"
            )
        return PreparedImage(pixels, case_id)

    def read(
        self, path: Path, trained: ModelSpec, *, case_id: str, wishes: ImageHints
    ) -> list[PreparedImage]:
        """The image of a file."""
        raw_image = images.read(path, limit_bytes=wishes.limit_bytes)
        return [self.ready(raw_image, trained, case_id=case_id, wishes=wishes)]

    def from_array(
        self,
        image: np.ndarray,
        trained: ModelSpec,
        wishes: ImageHints = NO_HINTS,
        affine: np.ndarray | None = None,
    ) -> PreparedImage:
        """An image `[*space, channel]`, or of one channel `[*space]`.

        Args:
          affine: of a volume `[i, j, k]`, from voxels to RAS mm; None: its axes are those of the
            training.
        """
        pixels = image if image.ndim == len(trained.image_shape) else image[..., None]
        spacing = (wishes.spacing_mm,) * (pixels.ndim - 1) if wishes.spacing_mm else None
        if affine is not None:
            spacing = tuple(geometry.spacing_mm(affine).tolist())
        return self.ready(
            images.RawImage(pixels, spacing, affine), trained, case_id="image", wishes=wishes
        )

    def answers(
        self, trained: ModelSpec, *, batch: int
    ) -> Callable[[Weights, Split], list[ClassProbabilities]]:
        """The compiled function from weights and images to answers, the mean over seeds."""
        predict = program(self.task(self.network(trained), trained))

        def answer(weights: Weights, split: Split) -> list[ClassProbabilities]:
            mean_probability = probabilities(predict, weights, split, batch=batch).mean(0)
            return [
                ClassProbabilities(
                    case, dict(zip(trained.info.classes, map(float, p), strict=True))
                )
                for case, p in zip(split.case_id, mean_probability, strict=True)
            ]

        return answer

    def function(self, trained: ModelSpec) -> tuple[Callable, dict[str, str]]:
        """`(params, stats, images)`, of all seeds, to probabilities, and the shape of its input."""
        task = self.task(self.network(trained), trained)
        return step.mean_of_seeds(task.predict), {"images": symbols(trained.image_shape)}

    def draw(
        self, path: Path, image: np.ndarray, answer: ClassProbabilities, *, most: int = 6
    ) -> None:
        """The image, and bars of its likeliest classes."""
        ranked = sorted(answer.probability.items(), key=lambda pair: -pair[1])[:most]

        def fill(figure, axes):
            left, right = axes[0]
            picture = plot.flat(image)
            left.imshow(picture, cmap="gray" if picture.ndim == 2 else None)
            left.set_title(plot.short(answer.case_id), fontsize=8, loc="left")
            left.axis("off")
            right.barh(
                [name for name, _ in ranked][::-1],
                [p for _, p in ranked][::-1],
                color=["0.7"] * (len(ranked) - 1) + ["C0"],
            )
            right.set(xlim=(0, 1), xlabel="probability")
            right.grid(axis="y", visible=False)

        plot.new_figure(path, 1, 2, (5.6, 2.4), fill)


def program(task: classification.ClassificationTask) -> Callable[..., Array]:
    """The compiled prediction of all seeds: `[seeds, batch, class]`."""
    return jax.jit(step.over_seeds(task.predict, (0, 0, None)))


def probabilities(
    predict: Callable[..., Array], weights: Weights, split: Split, *, batch: int
) -> np.ndarray:
    """Those of every case once, in order: `[seeds, cases, class]`."""
    parts = list(feed.padded(len(split), batch=batch))

    def run(number: int) -> np.ndarray:
        return np.asarray(predict(*weights, mesh.spread(split.images(parts[number][0]))))

    batches = mesh.everywhere(run, len(parts))
    return np.concatenate(
        [f[:, valid] for f, (_, valid) in zip(batches, parts, strict=True)], axis=1
    )


def _kind(shape: tuple[int, ...]) -> str:
    return (
        f"{'an image' if len(shape) == 3 else 'a volume'} of {shape[-1]} channel"
        f"{'s' if shape[-1] > 1 else ''}"
    )

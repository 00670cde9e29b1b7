"""How cases are described and compared: the settings of retrieval, and what they stand for."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.config import option
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.ops.neighbours import DISTANCES
from medjax.outputs.base import Weights
from medjax.outputs.embeddings.metadata import MetadataDistance
from medjax.tasks.embedding import forest, transforms
from medjax.tasks.embedding.objectives import LOSSES, Objective, learn_classes
from medjax.tasks.embedding.predictor import (
    BARCODES,
    BODY,
    CODE,
    COMPONENTS,
    FOREST,
    HEAD,
    PIXELS,
    EmbeddingPredictor,
)
from medjax.tasks.embedding.rivals import Gallery, describe_gallery, fit_linear, init_weights
from medjax.train.task import Task

TRAINED, FROZEN = "trained", "frozen"
FEATURES = (TRAINED, FROZEN, PIXELS, COMPONENTS, *BARCODES, FOREST)
_BITS = "hamming"


@dataclasses.dataclass(frozen=True)
class RetrievalOptions:
    """What stands for an image, and what makes two of them alike."""

    features: str = option(
        TRAINED,
        "what describes an image: a network that is trained on classes, or frozen; its pixels; "
        "principal components (pca); Radon barcodes by medians, or by minima and maxima; leaves "
        "of trees over patches (forest)",
        choices=FEATURES,
        common=True,
    )
    distance: str = option(
        "cosine",
        "by which cases are ranked; codes have hamming",
        choices=tuple(DISTANCES),
        answers=True,
    )
    transform: str = option(
        transforms.NONE,
        "of features: bits at their medians; probabilities of classes, by their means or by "
        "support vector machines (svm)",
        choices=transforms.TRANSFORMS,
        common=True,
        answers=True,
    )
    size: int = option(64, "numbers or bits of trained features and of pca", least=2, common=True)
    code: bool = option(False, "train binary codes", common=True)
    metadata: tuple[str, ...] = option(
        (),
        "compared beside the image, as age,sex; weights are chosen on validation",
        common=True,
        answers=True,
    )
    known_classes: bool = option(
        False,
        "with means or svm: first the cases of the class that a query most likely has",
        answers=True,
    )
    shortlist: int = option(
        0, "order so many nearest cases anew, by their barcodes; 0: none", least=0, answers=True
    )
    loss: str = option("contrastive", "of the training", choices=LOSSES, group="training")
    temperature: float = option(0.1, "of the contrastive and softmax loss", group="training")
    label_smoothing: float = option(0.0, "of the softmax loss", least=0, below=1, group="training")
    margin: float = option(0.2, "of the other losses", least=0, group="training")

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError("`temperature`: give a number above 0")
        if self.code and self.features != TRAINED:
            raise UserError("`code` is for `features=trained`; others have `transform=median`")
        if self.code and self.transform != transforms.NONE:
            raise UserError("`transform`: codes stay as they are; leave out one of the two")
        if self.known_classes and self.transform not in transforms.OF_CLASSES:
            names = " or ".join(transforms.OF_CLASSES)
            raise UserError(f"`known_classes`: by probabilities; give `transform` as {names}")
        signed = self.features in (TRAINED, COMPONENTS)
        if self.distance == "chi_squared" and signed and self.transform == transforms.NONE:
            raise UserError(
                f"`distance=chi_squared`: of histograms, and `features={self.features}` are below "
                "0 too; give `features=forest`, or a `transform` to probabilities"
            )
        if self.distance == _BITS and not self.has_bits:
            raise UserError("`distance=hamming`: of bits; give `code`, or `transform=median`")

    @property
    def has_bits(self) -> bool:
        """Whether cases are compared by bits."""
        bits = self.features in BARCODES and self.transform == transforms.NONE
        return bits or self.code or self.transform == transforms.MEDIAN

    def describe(self, predictor: EmbeddingPredictor) -> EmbeddingPredictor:
        """The predictor that describes images so."""
        trained = CODE if self.code else HEAD
        answers = {TRAINED: trained, FROZEN: BODY}.get(self.features, self.features)
        return dataclasses.replace(
            predictor,
            answers=answers,
            transform=self.transform,
            size=self.size,
            distance=_BITS if self.has_bits else self.distance,
            metadata=self.metadata,
            known_classes=self.known_classes,
            shortlist=self.shortlist,
        )

    def objective(self, augmentation: Augmentation, *, classes: int) -> Objective | None:
        """What is learned; None where nothing is."""
        if self.features != TRAINED:
            return None
        return learn_classes(
            augmentation,
            loss=self.loss,
            size=self.size,
            classes=classes,
            binary=self.code,
            heat=self.temperature,
            margin=self.margin,
            smoothing=self.label_smoothing,
        )


def check_options(options: RetrievalOptions, *, start: bool, seeds: int) -> None:
    """Raises UserError for settings that do not go together.

    Args:
      start: whether there are weights to start from.
    """
    if options.features == FROZEN and not start:
        raise UserError("`features=frozen`: of which network? Give `init_from`, and its `model`")
    if options.features not in (TRAINED, FROZEN) and start:
        raise UserError(f"`init_from`: `features={options.features}` has no network")
    if options.features != TRAINED and seeds > 1:
        raise UserError(f"`seeds`: `features={options.features}` does not depend on it; leave out")


def check_images(options: RetrievalOptions, train: Split) -> None:
    """Raises UserError for what these images cannot have, before anything is trained."""
    if options.shortlist and len(train.image_shape) != 3:
        raise UserError("`shortlist`: barcodes are of 2-D images; leave it out")
    if options.metadata:
        MetadataDistance(train, options.metadata)


def take_weights(gallery: Gallery, task: Task, *, seed: int) -> Weights:
    """The weights of what is not trained, as those of one seed."""
    if gallery.predictor.answers == COMPONENTS:
        *_, weights = fit_linear(gallery, answers=COMPONENTS, size=gallery.predictor.size)
        return weights
    if gallery.predictor.answers == FOREST:
        params = forest.fit(gallery.train, gallery.spec.preprocessing, seed=seed)
        return jax.tree.map(lambda x: np.asarray(x)[None], params), {}
    return init_weights(task, seed=seed)


class Answering(NamedTuple):
    """What answers when training has ended.

    Attributes:
      task: without what training alone needs, with the transform; weights: of it, a seed axis
        first.
      text: what was chosen for the transform; empty without one.
    """

    task: Task
    weights: Weights
    text: str


def make_answering(
    gallery: Gallery, predictor: EmbeddingPredictor, task: Task, weights: Weights
) -> Answering:
    """The task that stands in bundles.

    Layers for training alone are thrown away, and the transform of the predictor is fitted on the
    gallery, for each seed.

    Args:
      task: that was trained, with its weights.
    """
    answering, (params, stats) = predictor.make_task(gallery.spec), weights
    wanted, _ = jax.eval_shape(answering.init, jax.random.key(0))
    texts: dict[str, None] = {}
    if predictor.transform != transforms.NONE:
        described = describe_gallery(gallery, task, weights)
        kind, classes = predictor.transform, len(gallery.spec.info.classes)
        fitted = [transforms.fit(kind, rows, gallery.train, classes=classes) for rows in described]
        stacked = jax.tree.map(lambda *x: np.stack(x), *[f.params for f in fitted])
        params = {**params, transforms.NAME: stacked}
        texts = dict.fromkeys(f.text for f in fitted)
    return Answering(answering, (_select(params, wanted), stats), "; ".join(texts))


def _select(params: Any, wanted: Any) -> Any:
    """The parameters whose names `wanted` has."""
    if not isinstance(wanted, Mapping):
        return params
    return {name: _select(params[name], part) for name, part in wanted.items()}

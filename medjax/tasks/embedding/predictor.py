"""Exam images to embeddings."""

import dataclasses
from typing import Any

from medjax import heads, models
from medjax.config import option
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.outputs.base import ModelSpec, Output
from medjax.outputs.embeddings import EMBEDDINGS
from medjax.tasks.embedding import forest, task, transforms
from medjax.tasks.embedding.objectives import Objective
from medjax.train.task import Task

BODY, HEAD, CODE = "body", "head", "code"
PIXELS, COMPONENTS, FOREST = "pixels", "pca", "forest"
MEDIAN_BARCODE, MINMAX_BARCODE = BARCODES = ("barcode", "minmax_barcode")
WITHOUT_NETWORK = (PIXELS, COMPONENTS, *BARCODES, FOREST)


@dataclasses.dataclass(frozen=True)
class EmbeddingPredictor:
    """How images are described.

    Attributes:
      model, dtype: the network.
      answers: `body`: its features below the last layer; `head`: what a linear layer makes of them;
        `code`: the bits of that; without a network `pixels`, `pca`, components of them,
        `barcode` and `minmax_barcode`, bits of their projections, and `forest`, leaves of trees
        over patches.
      transform: what is done to that, one of `transforms.TRANSFORMS`.
      size: numbers or bits of what is not as long as the network has it.
      distance: by which embeddings are ranked, one of `ops.neighbours.DISTANCES`.
      metadata: by which cases are compared beside that; metadata_weights: of each distance.
      known_classes: cases of the class that a query most likely has come first, by the
        probabilities that the transform gives.
      shortlist: so many nearest cases are ordered anew, by barcodes; 0: none.
      image_size, fit: as of `DataOptions`, of the training; 0: images have to fit.
    """

    model: str = option("cnn", "the network", choices=models.CLASSIFIERS, kept=True, common=True)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    answers: str = BODY
    transform: str = transforms.NONE
    size: int = 0
    distance: str = "cosine"
    metadata: tuple[str, ...] = ()
    metadata_weights: tuple[float, ...] = ()
    known_classes: bool = False
    shortlist: int = 0
    image_size: int = 0
    fit: str = "stretch"

    @property
    def output(self) -> Output[Any]:
        """A vector an image."""
        return EMBEDDINGS

    @property
    def network_name(self) -> str:
        """The network, or what stands in its place."""
        return self.answers if self.answers in WITHOUT_NETWORK else self.model

    @property
    def plain(self) -> "EmbeddingPredictor":
        """The same, without what is done to its embeddings and to the ranking by them."""
        return dataclasses.replace(
            self, transform=transforms.NONE, metadata=(), known_classes=False, shortlist=0
        )

    def make_task(self, spec: ModelSpec, *, objective: Objective | None = None) -> Task:
        """What the network is trained to do; without an objective it is used as it is.

        Raises:
          UserError: if the images are too small for the network.
        """
        shape = spec.image_shape
        return transforms.add_transform(
            self._make_plain(spec, objective),
            self.transform,
            image_shape=shape,
            classes=len(spec.info.classes),
        )

    def _make_plain(self, spec: ModelSpec, objective: Objective | None) -> Task:
        shape, scaling = spec.image_shape, spec.preprocessing
        if self.answers in BARCODES:
            between_extrema = self.answers == MINMAX_BARCODE
            return task.make_barcode(shape, scaling, between_extrema=between_extrema)
        if self.answers == FOREST:
            return forest.make_forest(shape, scaling)
        if self.answers in WITHOUT_NETWORK:
            size = self.size if self.answers == COMPONENTS else 0
            return task.make_linear(shape, scaling, size=size)
        return task.make(
            self.make_network(spec),
            image_shape=shape,
            preprocessing=scaling,
            answers=self.answers,
            objective=objective,
            size=self.size,
        )

    def make_network(self, spec: ModelSpec) -> Any:
        """The module; errors as of `make_task`."""
        models.check_size(self.model, spec.image_shape)
        return models.classifier(self.model, num_classes=1, dtype=self.dtype)


def check_classes(info: DatasetInfo, *, fewest: int) -> None:
    """Raises UserError for a set with fewer classes than that, by which images are compared."""
    if len(info.classes) >= fewest:
        return
    has = heads.name_head(info, "no labels")
    hint = ", or give `unlabelled`" * (fewest == 1)
    raise UserError(
        f"{info.name} has {has}, and images are compared by classes: choose a set with classes, of "
        f"one's own images by folders or `label_column`{hint}"
    )

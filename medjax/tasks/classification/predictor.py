"""Exam images to the probability of each class."""

import dataclasses
from typing import Any

from medjax import models
from medjax.config import option, own
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.outputs.labels import LABELS
from medjax.tasks.base import check_views, tta_option
from medjax.tasks.classification import task as classification
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class ClassificationPredictor:
    """How images are classified.

    Attributes:
      model, dtype: the network.
      tta: answers are the mean over so many views, the first the image as it is...
      augmentation: ...the others varied so; of the training.
      image_size, fit: as of `DataOptions`, of the training; 0: images have to fit.
      own_network: a module that medjax has no name for; None: `model` names one.
    """

    model: str = option("cnn", "the network", choices=models.CLASSIFIERS, kept=True, common=True)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    tta: int = tta_option("answers")
    augmentation: Augmentation = classification.NO_AUGMENTATION
    image_size: int = 0
    fit: str = "stretch"
    own_network: Any = own()

    output = LABELS

    def __post_init__(self) -> None:
        check_views(self.tta)

    def make_task(self, spec: ModelSpec, *, dropout: float = 0.0, **training: Any) -> Task:
        """What the network is trained to do.

        Args:
          dropout: before its last layer.
          training: options of `tasks.classification.task.make`.

        Raises:
          UserError: if the images are too small for the network.
        """
        return classification.make(
            self.make_network(spec, dropout=dropout),
            image_shape=spec.image_shape,
            num_classes=len(spec.info.classes),
            preprocessing=spec.preprocessing,
            augmentation=self.augmentation,
            views=self.tta,
            voxel=spec.info.spacing_mm or (),
            **training,
        )

    def make_network(self, spec: ModelSpec, *, dropout: float = 0.0) -> Any:
        """The module; errors as of `make_task`."""
        count = len(spec.info.classes)
        if self.own_network is not None:
            models.check_network(self.own_network, image_shape=spec.image_shape, answers=(count,))
            return self.own_network
        smallest = models.smallest_side(self.model)
        if min(spec.image_shape[:-1]) < smallest:
            raise UserError(
                f"`model={self.model}` needs images of {smallest} voxels a side or more; "
                f"these have {spec.image_shape[:-1]}: give `image_size`, or another model"
            )
        network = models.classifier(
            self.model, num_classes=count, dropout=dropout, dtype=self.dtype
        )
        if self.model not in models.BUILT_IN:
            models.check_network(network, image_shape=spec.image_shape, answers=(count,))
        return network

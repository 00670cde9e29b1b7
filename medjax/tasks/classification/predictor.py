"""Exam images to the probability of each class, or to quantities."""

import dataclasses
from typing import Any

from medjax import heads, losses, models
from medjax.config import option, own
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec, Output
from medjax.outputs.findings import FINDINGS
from medjax.outputs.findings import metrics as findings
from medjax.outputs.labels import LABELS, metrics
from medjax.outputs.quantities import QUANTITIES
from medjax.outputs.quantities import metrics as quantities
from medjax.tasks.base import check_views, tta_option
from medjax.tasks.classification import task as classification
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class RegularisationOptions:
    """What keeps a classifier from learning its training set by heart."""

    dropout: float = option(0.2, "before the last layer", least=0, below=1)
    label_smoothing: float = option(
        0.05, "share of the target spread over all classes", least=0, below=1
    )


@dataclasses.dataclass(frozen=True)
class ClassificationPredictor:
    """How images are classified.

    Attributes:
      model, dtype: the network; head: what its last layer answers.
      tta: answers are the mean over so many views, the first the image as it is...
      augmentation: ...the others varied so; of the training.
      image_size, fit: as of `DataOptions`, of the training; 0: images have to fit.
      own_network: a module that medjax has no name for; None: `model` names one.
    """

    model: str = option("cnn", "the network", choices=models.CLASSIFIERS, kept=True, common=True)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    head: str = option(
        heads.CLASSES,
        "what the last layer answers; of grades also the grade, both, or a chain of questions",
        choices=heads.NAMES,
    )
    tta: int = tta_option("answers")
    augmentation: Augmentation = classification.NO_AUGMENTATION
    image_size: int = 0
    fit: str = "stretch"
    own_network: Any = own()

    @property
    def output(self) -> Output[Any]:
        """One class an image, several findings, or quantities."""
        outputs: dict[str, Output[Any]] = {
            heads.FINDINGS: FINDINGS,
            heads.QUANTITIES: QUANTITIES,
        }
        return outputs.get(self.head, LABELS)

    def __post_init__(self) -> None:
        check_views(self.tta)

    def make_task(
        self,
        spec: ModelSpec,
        *,
        dropout: float = 0.0,
        loss_function: losses.LossFunction | None = None,
        **training: Any,
    ) -> Task:
        """What the network is trained to do.

        Args:
          dropout: before its last layer.
          loss_function: of the values of the head and the target, one example; None: its own.
          training: options of `tasks.classification.task.make`.

        Raises:
          UserError: if the images are too small for the network, or the head is for something else
            than the labels of the set.
        """
        info = spec.info
        heads.check_head(self.head, info)
        head = self.make_head(spec)
        return classification.make(
            self.make_network(spec, dropout=dropout),
            image_shape=spec.image_shape,
            num_classes=len(info.targets),
            head=head._replace(loss=loss_function) if loss_function else head,
            preprocessing=spec.preprocessing,
            augmentation=self.augmentation,
            views=self.tta,
            voxel=info.spacing_mm or (),
            **training,
        )

    def make_head(self, spec: ModelSpec) -> heads.ClassHead:
        """What the last layer answers."""
        return heads.make_head(self.head, spec.quantity_scale)

    def make_network(self, spec: ModelSpec, *, dropout: float = 0.0) -> Any:
        """The module; errors as of `make_task`."""
        count = self.make_head(spec).size(len(spec.info.targets))
        if self.own_network is not None:
            models.check_network(self.own_network, image_shape=spec.image_shape, answers=(count,))
            return self.own_network
        models.check_size(self.model, spec.image_shape)
        network = models.classifier(
            self.model, num_classes=count, dropout=dropout, dtype=self.dtype
        )
        if self.model not in models.BUILT_IN:
            models.check_network(network, image_shape=spec.image_shape, answers=(count,))
        return network

    def choose_score(self, wish: str, validation: Split, info: DatasetInfo) -> str:
        """The metric that chooses the checkpoint, of what the images are labelled with; errors as
        of these."""
        kinds = {heads.FINDINGS: findings, heads.QUANTITIES: quantities}
        kind: Any = kinds.get(heads.name_head(info, heads.CLASSES), metrics)
        chosen: str = kind.choose_score(wish, validation, info)
        return chosen

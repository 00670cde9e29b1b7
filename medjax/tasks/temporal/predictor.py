"""Sequences to the frames that matter."""

import dataclasses
from typing import Any

from medjax import models
from medjax.config import option, own
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec, Output
from medjax.outputs.frames import FRAMES, PLANES, VOLUME_CURVE
from medjax.outputs.frames.report import SequencePredictions
from medjax.tasks.base import check_views, tta_option
from medjax.tasks.temporal import task as temporal
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class TemporalPredictor:
    """How frames are found.

    Attributes:
      augmentation: how the views of `tta` vary; of the training.
      own_network: an encoder that medjax has no name for.
    """

    task: str = option(
        "frames",
        "each name has one frame, or (planes) any number",
        choices=tuple(temporal.LOSSES),
        kept=True,
    )
    encoder: str = option(
        "cnn", "network of a frame", choices=models.CLASSIFIERS, kept=True, common=True
    )
    features: int = option(64, "numbers that it gives a frame", least=1, kept=True)
    recurrence: str = option("tcn", "what runs over them", choices=models.RECURRENCES, kept=True)
    hidden: int = option(64, "its features", least=1, kept=True)
    loss: str = option(
        "",
        "frames: time (cross-entropy over frames) or curve (Kong et al. 2016; ED, ES); planes: "
        "joint (Chen et al. 2015) or softmax; empty: the first",
        choices=("", *(name for losses in temporal.LOSSES.values() for name in losses)),
        kept=True,
    )
    smooth: int = option(1, "scores are means over so many frames", least=1, answers=True)
    frame_ms: float = 0.0
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    tta: int = tta_option("scores")
    augmentation: Augmentation = temporal.NO_AUGMENTATION
    own_network: Any = own()

    def __post_init__(self) -> None:
        """Raises UserError for settings that do not go together."""
        check_views(self.tta)
        known = temporal.LOSSES[self.task]
        if self.loss and self.loss not in known:
            raise UserError(
                f"`loss={self.loss}` is not for `task={self.task}`; choose {' or '.join(known)}"
            )
        if self.smooth % 2 == 0:
            raise UserError(f"`smooth={self.smooth}`: must be odd, so that no frame is shifted")

    @property
    def loss_or_default(self) -> str:
        """The loss: where none is named, the first of the task."""
        return self.loss or temporal.LOSSES[self.task][0]

    @property
    def model(self) -> str:
        """The network, in words."""
        return f"{self.encoder} + {self.recurrence}"

    @property
    def output(self) -> Output[SequencePredictions]:
        """Frames, or planes."""
        if self.task == "planes":
            return PLANES
        return VOLUME_CURVE if self.loss == "curve" else FRAMES

    def network(self, spec: ModelSpec, *, dropout: float = 0.0, remat: bool = False) -> Any:
        """The network alone; raises UserError if frames are too small for it."""
        smallest, own = models.smallest_side(self.encoder), self.own_network
        if own is None and self.encoder not in models.BUILT_IN:
            own = models.classifier(
                self.encoder, num_classes=self.features, dropout=dropout, dtype=self.dtype
            )
        if own is not None:
            models.check_network(own, image_shape=spec.image_shape[1:], answers=(self.features,))
        elif min(spec.image_shape[1:3]) < smallest:
            raise UserError(
                f"`encoder={self.encoder}` needs frames of {smallest} pixels a side or more; "
                f"these have {spec.image_shape[1:3]}: give `image_shape`"
            )
        return models.over_time(
            self.encoder,
            recurrence=self.recurrence,
            features=self.features,
            hidden=self.hidden,
            outputs=temporal.num_outputs(self.loss, len(spec.info.frames)),
            dropout=dropout,
            dtype=self.dtype,
            remat=remat,
            own_encoder=own,
        )

    def make_task(
        self, spec: ModelSpec, *, dropout: float = 0.0, remat: bool = False, **training: Any
    ) -> Task:
        """What the network is trained to do.

        Args:
          dropout: before the encoder's last layer.
          remat: keep less in memory, compute it twice.
          training: options of `tasks.temporal.task.make`.
        """
        return temporal.make(
            self.network(spec, dropout=dropout, remat=remat),
            image_shape=spec.image_shape,
            preprocessing=spec.preprocessing,
            loss=self.loss,
            cyclic=spec.info.cyclic,
            smooth=self.smooth,
            augmentation=self.augmentation,
            views=self.tta,
            **training,
        )

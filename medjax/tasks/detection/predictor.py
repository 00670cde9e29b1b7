"""Images to boxes."""

import dataclasses
from typing import Any

from medjax import models
from medjax.config import option
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.outputs.boxes import BOXES
from medjax.tasks.base import check_mirror, mirror_option
from medjax.tasks.detection import task as detection
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class DetectionPredictor:
    """How things are detected.

    Attributes:
      augmentation: how images vary in training.
    """

    model: str = option("unet", "the encoder", choices=models.DETECTORS, kept=True, common=True)
    width: int = option(
        0, "its features, at the finest level; 0: 16, or 8 in volumes", least=0, kept=True
    )
    levels: int = option(5, "sizes that it works at", least=2, kept=True)
    stride: int = option(4, "image voxels of a voxel of the maps: 1, 2, 4 or 8", kept=True)
    most_boxes: int = option(100, "boxes of an image", least=1, answers=True)
    overlap: float = option(
        0.5, "of two boxes of one class, above which the lower score goes", least=0, answers=True
    )
    mirror: tuple[int, ...] = mirror_option()
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    augmentation: Augmentation = detection.NO_AUGMENTATION

    output = BOXES

    def __post_init__(self) -> None:
        """Raises UserError for a stride that no level has."""
        if self.stride not in (1, 2, 4, 8) or self.stride > 2 ** (self.levels - 2):
            raise UserError(f"`stride={self.stride}`: 1, 2, 4 or 8, with more `levels` than that")

    def make_task(self, spec: ModelSpec, **training: Any) -> Task:
        """What the network is trained to do; `training` are options of `tasks.detection.task.make`.

        Raises:
          UserError: if the images do not fit the network.
        """
        space, divisor = spec.image_shape[:-1], 2 ** (self.levels - 1)
        if any(n % divisor for n in space):
            raise UserError(
                f"`levels={self.levels}` needs sides that divide by {divisor}; the images have "
                f"{' x '.join(map(str, space))}: give `image_shape`, or fewer `levels`"
            )
        check_mirror(self.mirror, axes=len(space))
        classes = len(spec.info.box_classes)
        network = models.detector(
            self.model,
            num_classes=classes,
            dtype=self.dtype,
            width=self.width,
            levels=self.levels,
            finest=self.stride.bit_length() - 1,
        )
        return detection.make(
            network,
            image_shape=spec.image_shape,
            num_classes=classes,
            preprocessing=spec.preprocessing,
            augmentation=self.augmentation,
            stride=self.stride,
            most=self.most_boxes,
            overlap=self.overlap,
            mirror=self.mirror,
            **training,
        )

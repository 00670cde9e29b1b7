"""Two images to the transform between them."""

import dataclasses
from typing import Any

from medjax import models
from medjax.config import option, own
from medjax.ops.alignment import VELOCITY
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.outputs.fields import FIELDS
from medjax.tasks.registration import task as registration
from medjax.tasks.registration.method import DIVISOR, AlignmentOptions
from medjax.train.task import Task

_SQUARINGS = 7  # of the integration of a network's velocities


@dataclasses.dataclass(frozen=True)
class RegistrationPredictor:
    """How a pair is registered.

    Attributes:
      alignment: what makes images alike, and which transforms do it.
      augmentation: how images vary in training.
      own_network: a module that medjax has no name for.
    """

    alignment: AlignmentOptions = AlignmentOptions()
    model: str = option(
        "dual_pyramid", "the network", choices=models.REGISTRATORS, kept=True, common=True
    )
    width: int = option(0, "its features; 0: 8, or 16 of images with 2 axes", least=0, kept=True)
    levels: int = option(5, "sizes that it works at", least=2, kept=True)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    augmentation: Augmentation = registration.NO_AUGMENTATION
    own_network: Any = own()

    output = FIELDS

    def make_task(self, spec: ModelSpec, **training: Any) -> Task:
        """What registers pairs; `training` are options of `tasks.registration.task.make`.

        Raises:
          UserError: if the images do not fit the network.
        """
        space = spec.image_shape[:-1]
        divisor = max(DIVISOR, self.divisor) if self.alignment.is_trained else DIVISOR
        padded = tuple(-(-n // divisor) * divisor for n in space)
        return registration.make(
            self._network(padded) if self.alignment.is_trained else None,
            space=space,
            spacing=spec.info.spacing_mm or (),
            options=self.alignment,
            divisor=divisor,
            structures=len(spec.info.structures),
            augmentation=self.augmentation,
            **training,
        )

    def _network(self, padded: tuple[int, ...]) -> Any:
        half = tuple(n // 2 for n in padded)
        shapes = {"image_shape": (*padded, 2), "answers": (*half, len(half))}
        if self.own_network is not None:
            models.check_network(self.own_network, **shapes)
            return self.own_network
        steps = _SQUARINGS if self.alignment.transform == VELOCITY else 0
        network = models.registrator(
            self.model, width=self.width, levels=self.levels, steps=steps, dtype=self.dtype
        )
        if self.model not in models.BUILT_IN:
            models.check_network(network, **shapes)
        return network

    @property
    def network_name(self) -> str:
        """What registers, as reports name it."""
        if self.alignment.is_trained:
            return self.model
        return f"each pair optimised ({self.alignment.transform}, {self.alignment.similarity})"

    @property
    def divisor(self) -> int:
        """What each side of the network's input divides by."""
        return 2 ** (self.levels - 1)

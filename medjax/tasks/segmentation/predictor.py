"""Images to masks."""

import dataclasses
from typing import Any

from medjax import models
from medjax.config import option, own
from medjax.errors import UserError, unknown
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.outputs.masks import MASKS, instances
from medjax.tasks.base import check_mirror, mirror_option
from medjax.tasks.segmentation import task as segmentation
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class SegmentationPredictor:
    """How images are segmented.

    Attributes:
      augmentation: how patches vary in training.
      own_network: a module that medjax has no name for.
    """

    model: str = option("unet", "the network", choices=models.SEGMENTERS, kept=True, common=True)
    width: int = option(
        0, "its features, at the finest level; 0: 16, or 8 in volumes", least=0, kept=True
    )
    levels: int = option(4, "unet, resenc_unet, vnet: sizes that it works at", least=1, kept=True)
    deep_supervision: int = option(
        0, "unet, resenc_unet: so many coarser levels have a loss too", least=0, kept=True
    )
    patch: tuple[int, ...] = option(
        (),
        "what it takes at a time, one side an axis, 1 for slices; empty: the largest image",
        item=int,
        least=1,
        kept=True,
        common=True,
    )
    mirror: tuple[int, ...] = mirror_option()
    largest_component: tuple[str, ...] = option(
        (), "structures of which only the largest piece is kept, comma-separated", answers=True
    )
    seed_depth: float = option(
        0.5,
        "of sets of single things: predicted depth from which on a piece is a seed",
        least=0,
        answers=True,
    )
    probabilities: bool = option(
        False, "write the probability of each voxel too, a file a structure", answers=True
    )
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    augmentation: Augmentation = segmentation.NO_AUGMENTATION
    own_network: Any = own()

    output = MASKS

    def make_task(self, spec: ModelSpec, **training: Any) -> Task:
        """What the network is trained to do; `training` are options of
        `tasks.segmentation.task.make`.

        Raises:
          UserError: if the patches do not fit the network.
        """
        names = spec.info.structures
        odd = next((name for name in self.largest_component if name not in names), None)
        if odd is not None:
            raise unknown("structure of `largest_component`", odd, names)
        if spec.info.instances:
            instances.find_watershed()
            if self.largest_component:
                raise UserError("`largest_component`: of single things all are kept; leave it out")
        shown = [n for n in spec.image_shape[:-1] if n > 1]
        check_mirror(self.mirror, axes=len(shown))
        return segmentation.make(
            self._network(spec, tuple(shown)),
            image_shape=spec.image_shape,
            num_classes=1 + len(names),
            things=spec.info.instances,
            preprocessing=spec.preprocessing,
            augmentation=self.augmentation,
            mirror=self.mirror,
            voxel=spec.info.spacing_mm or (),
            **training,
        )

    def _network(self, spec: ModelSpec, shown: tuple[int, ...]) -> Any:
        shape = (*shown, spec.image_shape[-1])
        count = 1 + len(spec.info.structures) + spec.info.instances  # with a map of depth
        if self.own_network is not None:
            models.check_network(self.own_network, image_shape=shape, answers=(*shown, count))
            return self.own_network
        divisor = self.divisor
        if any(n % divisor for n in shown):
            raise UserError(
                f"`model={self.model}` with `levels={self.levels}` needs sides that divide by "
                f"{divisor}; the patches have {' x '.join(map(str, shown))}: give `patch`, or "
                "fewer `levels`"
            )
        depth = {"levels": self.levels} if self.model in models.HAVE_LEVELS else {}
        if self.deep_supervision:
            depth["supervised"] = self._supervised_levels()
        network = models.segmenter(
            self.model, num_classes=count, dtype=self.dtype, width=self.width, **depth
        )
        if self.model not in models.BUILT_IN:
            models.check_network(network, image_shape=shape, answers=(*shown, count))
        return network

    def _supervised_levels(self) -> int:
        if self.model not in models.SUPERVISED or self.deep_supervision > self.levels - 2:
            raise UserError(
                f"`deep_supervision={self.deep_supervision}`: {', '.join(models.SUPERVISED)} have "
                f"it, of at most {max(self.levels - 2, 0)} levels with `levels={self.levels}`"
            )
        return self.deep_supervision

    @property
    def divisor(self) -> int:
        """What each side of a patch divides by."""
        known = self.own_network is None and self.model in models.BUILT_IN
        return models.divisor(self.model, levels=self.levels) if known else 1

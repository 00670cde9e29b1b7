"""Images to landmarks, by heatmaps."""

import dataclasses
from typing import Any

import numpy as np

from medjax import models
from medjax.config import option, own
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.outputs.landmarks import LANDMARKS
from medjax.tasks.base import check_views, tta_option
from medjax.tasks.heatmap import task as heatmap
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class HeatmapPredictor:
    """How landmarks are found.

    Attributes:
      augmentation: how the views of `tta` vary; of the training.
      own_network: a module that medjax has no name for.
    """

    model: str = option("unet", "the network", choices=models.LANDMARKERS, kept=True, common=True)
    width: int = option(
        0, "its features, at the finest level; 0: 16, or 8 in volumes", least=0, kept=True
    )
    levels: int = option(4, "unet, scn2019: sizes that it works at", least=1, kept=True)
    loss: str = option(
        "cross_entropy",
        "l2: heights, cross_entropy: probabilities over voxels",
        choices=heatmap.LOSSES,
        kept=True,
    )
    decoder: str = option(
        "mass",
        "from map to point: highest voxel with a parabola, mean over all voxels, or centre of mass "
        "about the highest",
        choices=heatmap.DECODERS,
        kept=True,
    )
    sigma: float = option(2.0, "of the target's Gaussian, voxels", kept=True)
    absent_below: float = option(
        0.0, "a point found with less confidence counts as absent", least=0
    )
    patch: tuple[int, ...] = option(
        (),
        "train on random windows of this shape, predict by overlapping ones; empty: whole images",
        item=int,
    )
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    tta: int = tta_option("points")
    augmentation: Augmentation = heatmap.NO_AUGMENTATION
    own_network: Any = own()

    output = LANDMARKS

    def __post_init__(self) -> None:
        """Raises UserError for settings that do not go together."""
        check_views(self.tta)
        if self.sigma <= 0:
            raise UserError(f"`sigma={self.sigma}`: must be positive")
        if self.loss == "l2" and self.decoder == "soft_argmax":
            raise UserError("`decoder=soft_argmax` is for `loss=cross_entropy`")
        if self.patch and (self.loss != "l2" or min(self.patch) < 1):
            raise UserError(
                "`patch`: give positive sides, and `loss=l2`; probabilities over a window are "
                "none over the image"
            )

    def make_task(self, spec: ModelSpec, **training: Any) -> Task:
        """What the network is trained to do; `training` are options of `tasks.heatmap.task.make`.

        Raises:
          UserError: if the images or windows do not fit the network.
        """
        self._check_patch(spec.image_shape[:-1])
        info = spec.info
        return heatmap.make(
            self._network(spec),
            image_shape=spec.image_shape,
            num_landmarks=len(info.landmarks),
            preprocessing=spec.preprocessing,
            loss=self.loss,
            decoder=self.decoder,
            sigma=self.sigma,
            window=self.patch or None,
            absent_below=self.absent_below,
            mirrored=info.pairs(info.mirrored),
            unordered=info.pairs(info.unordered),
            augmentation=self.augmentation,
            views=self.tta,
            **training,
        )

    def _network(self, spec: ModelSpec) -> Any:
        shape = (*(self.patch or spec.image_shape[:-1]), spec.image_shape[-1])
        count = len(spec.info.landmarks)
        if self.own_network is not None:
            models.check_network(self.own_network, image_shape=shape, answers=(*shape[:-1], count))
            return self.own_network
        divisor = models.divisor(self.model, levels=self.levels)
        if any(n % divisor for n in shape[:-1]):
            raise UserError(
                f"`model={self.model}` needs sides that divide by {divisor}; the images or "
                f"windows have {shape[:-1]}: give `image_shape`, or fewer `levels`"
            )
        depth = {"levels": self.levels} if self.model in models.HAVE_LEVELS else {}
        network = models.landmarker(
            self.model, num_landmarks=count, dtype=self.dtype, width=self.width, **depth
        )
        if self.model not in models.BUILT_IN:
            models.check_network(network, image_shape=shape, answers=(*shape[:-1], count))
        return network

    def _check_patch(self, shape: tuple[int, ...]) -> None:
        patch = self.patch
        if patch and (len(patch) != len(shape) or (np.array(patch) > shape).any()):
            raise UserError(
                f"`patch={','.join(map(str, patch))}` does not fit into images of {shape}"
            )

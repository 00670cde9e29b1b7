"""Published weights that can be had by name, and how pixels are scaled for them and for others."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from medjax.errors import UserError
from medjax.models import efficientnet


class Scaling(NamedTuple):
    """How weights want pixels that were brought to [0, 1]: `(pixel - mean) / sd`, one a channel."""

    mean: tuple[float, ...]
    sd: tuple[float, ...]


SCALINGS = {
    # of torchvision, and of timm for most networks
    "imagenet": Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # to [-1, 1], of timm for Inception and many ViT
    "half": Scaling((0.5,) * 3, (0.5,) * 3),
    # (v - 127) / 128 of 8 bits, of EfficientNet-Lite
    "lite": Scaling((127 / 255,) * 3, (128 / 255,) * 3),
    # to [-1024, 1024], gray, of torchxrayvision
    "xrayvision": Scaling((0.5,), (1 / 2048,)),
}


class PublishedWeights(NamedTuple):
    """A file of weights.

    Attributes:
      model: the network, as of `models.CLASSIFIERS`.
      source: what they were trained on, and by whom.
      licence: of the file.
      sha256: of its content.
      scaling: one of `SCALINGS`.
      side: of the images that they were trained on, pixels.
      find: where the file lies; raises UserError where it was not installed.
    """

    model: str
    source: str
    licence: str
    sha256: str
    scaling: str
    side: int
    find: Callable[[], Path]

    def check(self) -> Path:
        """The file, its content compared.

        Raises:
          UserError: if it is absent, or not the file that the table names.
        """
        path = self.find()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise UserError(
                f"{path}: its sha256 is {digest[:12]}..., that of the published file "
                f"{self.sha256[:12]}...: install it again"
            )
        return path


_LITE = "ImageNet, RGB, by Google; as the PyPI package of ML Illustrated has them"

PUBLISHED = {
    "efficientnet_lite0_imagenet": PublishedWeights(
        "efficientnet_lite0",
        _LITE,
        "Apache-2.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "lite",
        224,
        partial(efficientnet.published_weights, 0),
    ),
    "efficientnet_lite1_imagenet": PublishedWeights(
        "efficientnet_lite1",
        _LITE,
        "Apache-2.0",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "lite",
        240,
        partial(efficientnet.published_weights, 1),
    ),
}

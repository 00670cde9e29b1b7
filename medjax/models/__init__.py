"""Networks by name. The only folder that imports flax."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medjax.errors import UserError, unknown
from medjax.models.densenet import DenseNet
from medjax.models.recurrent import RECURRENCES, FrameNetwork
from medjax.models.resnet import Bottleneck, ResNet
from medjax.models.scn import SCN, SCN2019, ConvOnly, Downsampling
from medjax.models.simple import CNN, MLP
from medjax.models.sononet import SmallNet, SonoNet
from medjax.models.unet import UNet

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet_slim": partial(ResNet, depths=(2, 2, 2), widths=(24, 48, 96), small_input=True),
    "resnet_slim_224": partial(ResNet, widths=(32, 64, 128, 256)),
    "resnet18_28": partial(ResNet, small_input=True),
    "resnet18_224": ResNet,
    "resnet50_28": partial(ResNet, depths=(3, 4, 6, 3), block=Bottleneck, small_input=True),
    "resnet50_224": partial(ResNet, depths=(3, 4, 6, 3), block=Bottleneck),
    "densenet121_28": partial(DenseNet, small_input=True),
    "densenet121_224": DenseNet,
    "sononet16": SonoNet,
    "sononet32": partial(SonoNet, width=32),
    "sononet64": partial(SonoNet, width=64),
    "sononet_small": SmallNet,
}

LANDMARKERS: dict[str, Callable[..., nn.Module]] = {
    "conv": ConvOnly,
    "downsampling": Downsampling,
    "unet": UNet.of_width,
    "scn": SCN,
    "scn_local": partial(SCN, spatial=False),
    "scn2019": SCN2019,
}


def smallest_side(name: str) -> int:
    """The shortest side at which the network called `name` still pools something."""
    return 32 if name.endswith("_224") else 16 if name.startswith("sononet") else 8


def classifier(
    name: str, *, num_classes: int, dropout: float = 0.0, dtype: str = "float32", **options: Any
) -> nn.Module:
    """The network called `name`, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    if name not in CLASSIFIERS:
        raise unknown("model", name, CLASSIFIERS)
    return CLASSIFIERS[name](
        num_classes=num_classes, dropout=dropout, dtype=jnp.dtype(dtype), **options
    )


def divisor(name: str, *, levels: int = 0) -> int:
    """Each side of the input of the landmark network called `name` must divide by this."""
    fixed = {"conv": 1, "downsampling": 4, "scn": 8, "scn_local": 1, "scn2019": 16}
    return fixed.get(name) or 2 ** ((levels or 5) - 1)


def landmarker(
    name: str, *, num_landmarks: int, dtype: str = "float32", **options: Any
) -> nn.Module:
    """The network called `name` that gives a heatmap a landmark, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    if name not in LANDMARKERS:
        raise unknown("model", name, LANDMARKERS)
    return LANDMARKERS[name](num_outputs=num_landmarks, dtype=jnp.dtype(dtype), **options)


def over_time(
    name: str,
    *,
    recurrence: str,
    features: int,
    hidden: int,
    outputs: int,
    dropout: float = 0.0,
    dtype: str = "float32",
    remat: bool = False,
) -> FrameNetwork:
    """A recurrence over what the classifier called `name` gives each frame in place of classes.

    Raises:
      UserError: if there is no such network or recurrence, or the two do not go together.
    """
    if recurrence not in RECURRENCES:
        raise unknown("recurrence", recurrence, RECURRENCES)
    if recurrence == "convlstm" and name != "cnn":
        raise UserError("`recurrence=convlstm` works on maps, which `encoder=cnn` has")
    encoder = classifier(
        name, num_classes=0 if recurrence == "convlstm" else features, dropout=dropout, dtype=dtype
    )
    return FrameNetwork(encoder, recurrence, hidden=hidden, outputs=outputs, remat=remat)

"""Networks by name. The only folder that imports flax."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medjax.errors import UserError, check_own_name, unknown
from medjax.models.convnext import ConvNeXt
from medjax.models.densenet import DenseNet
from medjax.models.detector import BODIES, Detector
from medjax.models.efficientnet import LITE1, EfficientNet
from medjax.models.efficientnet_b0 import EfficientNetB0
from medjax.models.inception import InceptionV3
from medjax.models.meshnet import MeshNet
from medjax.models.own import accept_known, check_module, check_network, use_fast_convolutions
from medjax.models.recurrent import RECURRENCES, FrameNetwork
from medjax.models.registration import DualStreamPyramid, VoxelMorph
from medjax.models.residual_unet import ResidualUNet
from medjax.models.resnet import Bottleneck, ResNet
from medjax.models.scn import SCN, SCN2019, ConvOnly, Downsampling
from medjax.models.simple import CNN, MLP
from medjax.models.sononet import SmallNet, SonoNet
from medjax.models.unet import UNet
from medjax.models.vgg import VGG
from medjax.models.vit import ViT
from medjax.models.vnet import VNet
from medjax.models.wnet import WNet

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "cnn": CNN,
    "resnet_slim": partial(ResNet, depths=(2, 2, 2), widths=(24, 48, 96), small_input=True),
    "resnet_slim_224": partial(ResNet, widths=(32, 64, 128, 256)),
    "resnet18_28": partial(ResNet, small_input=True),
    "resnet18_224": ResNet,
    "resnet34_224": partial(ResNet, depths=(3, 4, 6, 3)),
    "resnet50_28": partial(ResNet, depths=(3, 4, 6, 3), block=Bottleneck, small_input=True),
    "resnet50_224": partial(ResNet, depths=(3, 4, 6, 3), block=Bottleneck),
    "densenet121_28": partial(DenseNet, small_input=True),
    "densenet121_224": DenseNet,
    "efficientnet_lite0": EfficientNet,
    "efficientnet_lite1": partial(EfficientNet, stages=LITE1),
    "efficientnet_b0": EfficientNetB0,
    "vgg16": VGG,
    "inception_v3": InceptionV3,
    "convnext_tiny": ConvNeXt,
    "vit_small": ViT,
    "vit_base": partial(ViT, width=768, heads=12),
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

SEGMENTERS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet.of_width,
    "resenc_unet": ResidualUNet.of_width,
    "vnet": VNet,
    "wnet": WNet.of_width,
    "meshnet": MeshNet,
}

DETECTORS: dict[str, Callable[..., nn.Module]] = {
    name: partial(Detector, body=name) for name in BODIES
}

REGISTRATORS: dict[str, Callable[..., nn.Module]] = {
    "dual_pyramid": DualStreamPyramid,
    "voxelmorph": VoxelMorph,
}

SUMMARIES = {  # what each network is, and where it is described
    "mlp": "dense layers alone, a baseline",
    "cnn": "four convolutions, for small images",
    "resnet_slim": "narrow ResNet for images of 28 to 64 pixels (He et al. 2016)",
    "resnet_slim_224": "narrow ResNet-18 for images of 224 pixels (He et al. 2016)",
    "resnet18_28": "ResNet-18 for small images (He et al. 2016; MedMNIST's baseline)",
    "resnet18_224": "ResNet-18 (He et al. 2016); starts from published weights",
    "resnet34_224": "ResNet-34 (He et al. 2016); starts from published weights",
    "resnet50_28": "ResNet-50 for small images (He et al. 2016; MedMNIST's baseline)",
    "resnet50_224": "ResNet-50 (He et al. 2016); starts from published weights",
    "densenet121_28": "DenseNet-121 for small images (Huang et al. 2017)",
    "densenet121_224": "DenseNet-121 (Huang et al. 2017); starts from published weights",
    "efficientnet_lite0": "EfficientNet-Lite0 (Tan and Le 2019); starts from published weights",
    "efficientnet_lite1": "EfficientNet-Lite1 (Tan and Le 2019); starts from published weights",
    "efficientnet_b0": "EfficientNet-B0 (Tan and Le 2019); starts from published weights",
    "vgg16": "VGG-16 (Simonyan and Zisserman 2015); starts from published weights",
    "inception_v3": "Inception-v3, 2-D (Szegedy et al. 2016); starts from published weights",
    "convnext_tiny": "ConvNeXt-T (Liu et al. 2022); starts from published weights",
    "vit_small": "vision transformer as of DINOv2 (Oquab et al. 2023); starts from its weights",
    "vit_base": "the same, larger (Oquab et al. 2023); starts from its weights",
    "sononet16": "SonoNet-16, fetal standard planes (Baumgartner et al. 2017)",
    "sononet32": "SonoNet-32 (Baumgartner et al. 2017)",
    "sononet64": "SonoNet-64 (Baumgartner et al. 2017)",
    "sononet_small": "SmallNet, the baseline of SonoNet (Baumgartner et al. 2017)",
    "conv": "convolutions at full size (Payer et al. 2016)",
    "downsampling": "with pooling, maps at a quarter of the size (Payer et al. 2016)",
    "unet": "U-Net (Ronneberger et al. 2015), 2-D and 3-D",
    "resenc_unet": "U-Net with a residual encoder, 2-D and 3-D (Isensee et al. 2024)",
    "vnet": "V-Net, 5-wide residual convolutions, 2-D and 3-D (Milletari et al. 2016)",
    "meshnet": "dilated convolutions at full size, small (Fedorov et al. 2017)",
    "dual_pyramid": "registration from coarse to fine, an encoder for each image (Hu et al. 2022)",
    "voxelmorph": "registration by one U-Net (Balakrishnan et al. 2019)",
    "wnet": "two small U-Nets after one another (Galdran et al. 2022)",
    "scn": "SpatialConfiguration-Net (Payer et al. 2016)",
    "scn_local": "its local appearance alone (Payer et al. 2016)",
    "scn2019": "SpatialConfiguration-Net (Payer et al. 2019)",
}


HAVE_LEVELS = ("unet", "scn2019", "resenc_unet", "vnet")  # their depth is a setting
ONLY_2D = ("inception_v3",)
SUPERVISED = ("unet", "resenc_unet")  # coarser levels may have a loss of their own
BUILT_IN = frozenset(
    {**CLASSIFIERS, **LANDMARKERS, **SEGMENTERS, **REGISTRATORS}
)  # what everybody's medjax has

__all__ = [
    "BUILT_IN",
    "CLASSIFIERS",
    "DETECTORS",
    "HAVE_LEVELS",
    "LANDMARKERS",
    "ONLY_2D",
    "REGISTRATORS",
    "SEGMENTERS",
    "SUPERVISED",
    "check_module",
    "check_network",
    "check_size",
    "classifier",
    "detector",
    "divisor",
    "landmarker",
    "over_time",
    "register_network",
    "registrator",
    "segmenter",
    "smallest_side",
    "use_fast_convolutions",
]


def register_network(
    name: str, factory: Callable[..., nn.Module], *, finds: str = "labels"
) -> None:
    """Makes a network of one's own known by name, as to `model`.

    Args:
      name: an identifier that no network of medjax has; a network of yours is replaced.
      factory: the module's class, or a function that makes one, whose `__call__(x, train)` takes
        `[batch, *space, channel]`. It is called with those of `num_classes` (or `num_outputs`),
        `dropout` and `dtype` that it has.
      finds: `labels`, for `classify` and the encoders of `temporal`: it answers with logits
        `[batch, num_classes]`; `landmarks`, for `heatmap`, or `masks`, for `segment`: with maps
        `[batch, *space, num_outputs]` of the size of the image; `pairs`, for `register`: with
        displacements `[batch, *space / 2, ndim]`.

    Raises:
      UserError: for a name or a factory that cannot be.
    """
    registries = {
        "labels": CLASSIFIERS,
        "landmarks": LANDMARKERS,
        "masks": SEGMENTERS,
        "pairs": REGISTRATORS,
    }
    if finds not in registries:
        raise unknown("kind of network", finds, registries)
    check_own_name("network", name, taken=BUILT_IN)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise UserError(f"network {name!r}: give the class, or a function that makes the module")
    registries[finds][name] = accept_known(name, factory)


def smallest_side(name: str) -> int:
    """The shortest side at which the network called `name` still pools something."""
    known = {"inception_v3": 75, "vgg16": 32, "convnext_tiny": 32, "vit_small": 14, "vit_base": 14}
    usual = 32 if name.endswith("_224") else 16 if name.startswith("sononet") else 8
    return known.get(name, usual)


def check_size(name: str, image_shape: tuple[int, ...]) -> None:
    """Raises UserError if images `[*space, channel]` are too small for the classifier called
    `name`, or have another number of axes."""
    smallest = smallest_side(name)
    if min(image_shape[:-1]) < smallest:
        raise UserError(
            f"`model={name}` needs images of {smallest} voxels a side or more; "
            f"these have {image_shape[:-1]}: give `image_size`, or another model"
        )
    if name in ONLY_2D and len(image_shape) != 3:
        raise UserError(f"`model={name}` is for 2-D images; choose another for volumes")


def _named(
    registry: dict[str, Callable[..., nn.Module]], name: str, dtype: str, **options: Any
) -> nn.Module:
    if name not in registry:
        raise unknown("model", name, registry)
    return registry[name](dtype=jnp.dtype(dtype), **options)


def classifier(
    name: str, *, num_classes: int, dropout: float = 0.0, dtype: str = "float32", **options: Any
) -> nn.Module:
    """The network called `name`, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    return _named(CLASSIFIERS, name, dtype, num_classes=num_classes, dropout=dropout, **options)


def divisor(name: str, *, levels: int = 0) -> int:
    """Each side of the input of the network of landmarks or masks called `name` divides by this."""
    fixed = {
        **dict.fromkeys(("conv", "scn_local", "meshnet"), 1),
        **{"downsampling": 4, "scn": 8, "scn2019": 16, "wnet": 4},
    }
    return fixed.get(name) or 2 ** ((levels or 5) - 1)


def landmarker(
    name: str, *, num_landmarks: int, dtype: str = "float32", **options: Any
) -> nn.Module:
    """The network called `name` that gives a heatmap a landmark, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    return _named(LANDMARKERS, name, dtype, num_outputs=num_landmarks, **options)


def segmenter(name: str, *, num_classes: int, dtype: str = "float32", **options: Any) -> nn.Module:
    """The network called `name` that gives logits of each voxel, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    return _named(SEGMENTERS, name, dtype, num_outputs=num_classes, **options)


def registrator(name: str, *, dtype: str = "float32", **options: Any) -> nn.Module:
    """The network called `name` that gives the displacement field of a pair, in 2-D and 3-D.

    Raises:
      UserError: if there is no such network.
    """
    return _named(REGISTRATORS, name, dtype, **options)


def detector(name: str, *, num_classes: int, dtype: str = "float32", **options: Any) -> nn.Module:
    """The detector with the encoder called `name`, for 2-D or 3-D input alike.

    Raises:
      UserError: if there is no such network.
    """
    return _named(DETECTORS, name, dtype, num_classes=num_classes, **options)


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
    own_encoder: nn.Module | None = None,
) -> FrameNetwork:
    """A recurrence over what the classifier called `name`, or `own_encoder`, gives each frame in
    place of classes.

    Raises:
      UserError: if there is no such network or recurrence, or the two do not go together.
    """
    if recurrence not in RECURRENCES:
        raise unknown("recurrence", recurrence, RECURRENCES)
    if recurrence == "convlstm" and name != "cnn":
        raise UserError("`recurrence=convlstm` works on maps, which `encoder=cnn` has")
    encoder = own_encoder or classifier(
        name, num_classes=0 if recurrence == "convlstm" else features, dropout=dropout, dtype=dtype
    )
    return FrameNetwork(encoder, recurrence, hidden=hidden, outputs=outputs, remat=remat)

"""What networks of PyTorch libraries answer to made-up weights: names, shapes and answers.

    python -m tests.models.layouts

writes `layouts.json.gz` anew, with torch and these installed. The tests need none of
them: weights and images follow from their names.
"""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("layouts.json.gz")
CLASSES = 5

# case: where the reference is, its name, its options, and the side of images
REFERENCES = {
    "resnet18": ("torchvision", "resnet18", {}, 64),
    "resnet34": ("torchvision", "resnet34", {}, 64),
    "resnet50": ("timm", "resnet50", {}, 64),
    "densenet121": ("torchvision", "densenet121", {}, 64),
    "densenet121_xrayvision": ("torchxrayvision", "DenseNet", {"in_channels": 1}, 224),
    "vgg16": ("torchvision", "vgg16", {}, 72),
    "vgg16_timm": ("timm", "vgg16", {}, 224),
    "inception_v3": ("torchvision", "inception_v3", {"init_weights": False}, 107),
    "convnext_tiny": ("torchvision", "convnext_tiny", {}, 68),
    "convnext_tiny_timm": ("timm", "convnext_tiny", {}, 68),
    "efficientnet_b0": ("torchvision", "efficientnet_b0", {}, 64),
    "efficientnet_b0_timm": ("timm", "efficientnet_b0", {}, 75),
    "vit_small": (
        "timm",
        "vit_small_patch14_dinov2",
        {"img_size": 56, "global_pool": "token"},
        56,
    ),
    "vit_base": ("timm", "vit_base_patch14_dinov2", {"img_size": 28, "global_pool": "token"}, 28),
}


def make_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of an array, by its name: kernels that keep the size of what passes them, factors and
    variances near one."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if "gamma" in name or "layer_scale" in name:
        values = rng.uniform(0.2, 0.6, shape)
    elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = rng.uniform(0.7, 1.3, shape)
    elif name.endswith("weight"):
        values = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = rng.uniform(-0.2, 0.2, shape)
    return values.astype(np.float32)


def make_images(side: int, channels: int = 3) -> np.ndarray:
    """`[2, side, side, channel]`."""
    shape = (2, side, side, channels)
    return np.random.default_rng(side).normal(size=shape).astype(np.float32)


def ask_reference(source: str, name: str, options: dict, side: int) -> dict:
    """Names, shapes and answers of a network of PyTorch with these weights."""
    import torch

    if source == "timm":
        import timm

        net = timm.create_model(name, num_classes=CLASSES, **options)
    elif source == "torchxrayvision":
        import torchxrayvision

        net = getattr(torchxrayvision.models, name)(num_classes=CLASSES, weights=None, **options)
    else:
        import torchvision

        net = getattr(torchvision.models, name)(num_classes=CLASSES, **options)
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items()}
    net.load_state_dict({k: torch.from_numpy(make_weights(k, s)) for k, s in shapes.items()})
    channels = options.get("in_channels", 3)
    images = torch.from_numpy(make_images(side, channels).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        answers = net.eval()(images).double().numpy()
    return {"side": side, "channels": channels, "shapes": shapes, "answers": answers.tolist()}


def read() -> dict:
    """What was written, by case."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


if __name__ == "__main__":
    found = {case: ask_reference(*reference) for case, reference in REFERENCES.items()}
    FILE.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))

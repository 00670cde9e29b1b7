"""What is timed. Both sides read it, so it imports neither JAX nor PyTorch."""

from typing import NamedTuple

import numpy as np

BATCHES = 4  # different ones, used in turn
LEARNING_RATE = 1e-3  # small: the loss must stay finite and the gradients must not vanish
MOMENTUM = 0.9


class Case(NamedTuple):
    """A network and its input.

    Attributes:
      model: its name in `medjax.models`.
      shape: of one example, `[*space, channel]`.
      num_classes: outputs; of a U-Net, maps.
      batch: examples a step.
      updates: steps in one repetition.
      block, depths, small_input: the same ResNet in MONAI's words.
      widths: the features of a U-Net.
    """

    model: str
    shape: tuple[int, ...]
    num_classes: int
    batch: int
    updates: int
    block: str = ""
    depths: tuple[int, ...] = ()
    small_input: bool = False
    widths: tuple[int, ...] = ()


CASES = {
    "resnet18_28": Case("resnet18_28", (28, 28, 1), 10, 128, 4, "basic", (2, 2, 2, 2), True),
    "resnet18_3d": Case("resnet18_28", (32, 32, 32, 1), 10, 4, 4, "basic", (2, 2, 2, 2), True),
    "resnet50_224": Case(  # meant for a GPU
        "resnet50_224", (224, 224, 3), 1000, 32, 20, "bottleneck", (3, 4, 6, 3), False
    ),
    "sononet16": Case("sononet16", (224, 288, 1), 14, 4, 2),
    "unet_3d": Case("unet", (64, 64, 64, 1), 8, 1, 2, widths=(16, 16, 32, 64, 128)),
}


class Job(NamedTuple):
    """What one side is asked to time."""

    case: str
    batch: int
    dtype: str
    device: str
    mode: str = "train"  # or predict: a forward pass


def batches(case: Case, *, batch: int) -> dict[str, np.ndarray]:
    """Random images `[BATCHES, batch, *shape]`, always the same, and what is asked of them: labels
    `[BATCHES, batch]`, or for a U-Net maps `[BATCHES, batch, *space, num_classes]`."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((BATCHES, batch, *case.shape), dtype=np.float32)
    if not case.widths:
        return {"image": image, "label": rng.integers(case.num_classes, size=(BATCHES, batch))}
    maps = (BATCHES, batch, *case.shape[:-1], case.num_classes)
    return {"image": image, "label": rng.random(maps, dtype=np.float32)}

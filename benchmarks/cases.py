"""What is timed. Both sides read it, so it imports neither JAX nor PyTorch."""

from typing import NamedTuple

import numpy as np

BATCHES = 4  # different ones, used in turn
LEARNING_RATE = 1e-3  # small: the loss must stay finite and the gradients must not vanish
MOMENTUM = 0.9


class Case(NamedTuple):
    """A network and its input.

    Attributes:
      model: its name in `medjax.models.CLASSIFIERS`.
      shape: of one example, `[*space, channel]`.
      num_classes: outputs.
      batch: examples a step.
      updates: steps in one repetition.
      block, depths, small_input: the same network in MONAI's words.
    """

    model: str
    shape: tuple[int, ...]
    num_classes: int
    batch: int
    updates: int
    block: str
    depths: tuple[int, ...]
    small_input: bool


CASES = {
    "resnet18_28": Case(
        "resnet18_28", (28, 28, 1), 10, 128, 4, "basic", (2, 2, 2, 2), True),
    "resnet18_3d": Case(
        "resnet18_28", (32, 32, 32, 1), 10, 4, 4, "basic", (2, 2, 2, 2), True),
    "resnet50_224": Case(  # meant for a GPU
        "resnet50_224", (224, 224, 3), 1000, 32, 20, "bottleneck", (3, 4, 6, 3), False),
}


class Job(NamedTuple):
    """What one side is asked to time."""

    case: str
    batch: int
    dtype: str
    device: str


def batches(shape: tuple[int, ...], *, num_classes: int, batch: int) -> dict[str, np.ndarray]:
    """Random images `[BATCHES, batch, *shape]` and labels `[BATCHES, batch]`, always the same."""
    rng = np.random.default_rng(0)
    return {"image": rng.standard_normal((BATCHES, batch, *shape), dtype=np.float32),
            "label": rng.integers(num_classes, size=(BATCHES, batch))}

"""Settings of a classifier that nobody gave."""

from medjax.data.dataset import Dataset
from medjax.data.suggest import (
    Suggestion,
    device_of,
    suggest_batch,
    suggest_steps,
    unit_of,
)


def suggest(dataset: Dataset, accelerated: bool) -> list[Suggestion]:
    """The network by the size of the images, batch and steps by how many there are."""
    train = dataset.splits["train"]
    side, ndim = max(train.image_shape[:-1]), len(train.image_shape) - 1
    large = side >= 112
    if accelerated and ndim == 2:
        model = "resnet18_224" if large else "resnet18_28"
    else:
        model = "resnet_slim_224" if large else "cnn" if side < 28 else "resnet_slim"
    batch = suggest_batch(len(train), most=64 if ndim == 2 else 16)
    shown = " x ".join(map(str, train.image_shape[:-1]))
    reason = f"images of {shown} {unit_of(ndim)}, {device_of(accelerated)}"
    return [
        Suggestion("model", model, reason),
        batch,
        suggest_steps(len(train), batch.value, epochs=30, accelerated=accelerated),
    ]

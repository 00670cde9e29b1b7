"""Settings of registration that nobody gave, from the sizes of a set."""

from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, device_of, suggest_steps

_MOST_PAIRS = 2000  # that steps are counted by: an image is in many pairs


def suggest(dataset: Dataset, accelerated: bool) -> list[Suggestion]:
    """Batch by the axes of the images, steps by how many pairs there are."""
    shape = dataset.splits["train"].image_shape[:-1]
    batch = {2: (8, 16), 3: (1, 4)}[len(shape)][accelerated]
    usual = " x ".join(map(str, shape))
    reason = f"pairs of {usual} voxels, {device_of(accelerated)}"
    pairs = min(len(dataset.splits["train"]), _MOST_PAIRS)
    return [
        Suggestion("batch", batch, reason),
        suggest_steps(pairs, batch, epochs=10, accelerated=accelerated),
    ]

"""Settings of detection that nobody gave."""

from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, suggest_steps


def suggest(dataset: Dataset, accelerated: bool) -> list[Suggestion]:
    """Batch by the axes of the images, steps by how many there are."""
    train = dataset.splits["train"]
    axes = len(train.image_shape) - 1
    batch = 8 if axes == 2 else 2
    return [
        Suggestion("batch", batch, f"images of {axes} axes"),
        suggest_steps(len(train), batch, epochs=60, accelerated=accelerated),
    ]

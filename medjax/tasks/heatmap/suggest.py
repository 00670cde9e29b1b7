"""Settings of heatmap regression that nobody gave."""

from medjax import models
from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, suggest_steps


def suggest(dataset: Dataset, accelerated: bool, *, model: str) -> list[Suggestion]:
    """Batch by the axes of the images, steps by how many there are, levels (of a model that has
    some) by their sides."""
    train = dataset.splits["train"]
    shape = train.image_shape[:-1]
    batch = 8 if len(shape) == 2 else 2
    chosen = [
        Suggestion("batch", batch, f"images of {len(shape)} axes"),
        suggest_steps(len(train), batch, epochs=40, accelerated=accelerated),
    ]
    if model in models.HAVE_LEVELS:
        fitting = next(n for n in (4, 3, 2, 1) if all(side % 2 ** (n - 1) == 0 for side in shape))
        chosen.append(Suggestion("levels", fitting, f"sides {' x '.join(map(str, shape))}"))
    return chosen

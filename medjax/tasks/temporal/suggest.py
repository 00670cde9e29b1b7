"""Settings of temporal localisation that nobody gave."""

import numpy as np

from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, suggest_batch, suggest_steps
from medjax.tasks.temporal.task import LOSSES


def suggest(dataset: Dataset, accelerated: bool, *, given_task: str = "") -> list[Suggestion]:
    """The task, unless it is given, by how often a name stands in a sequence; the loss by the task,
    batch and steps by how many sequences there are."""
    train = dataset.splits["train"]
    often = max(int(split["marks"].sum(1).max()) for split in dataset.splits.values())
    task = given_task or ("frames" if often <= 1 else "planes")
    unknown = any(np.isnan(split["frame_ms"]).any() for split in dataset.splits.values())
    batch = suggest_batch(len(train), most=8)
    return [
        Suggestion("task", task, f"a name stands at most {often} times in a sequence"),
        Suggestion("loss", LOSSES[task][0], f"task {task}"),
        *([Suggestion("units", "frames", "the time between frames is not known")] * unknown),
        batch,
        suggest_steps(len(train), batch.value, epochs=30, accelerated=accelerated),
    ]

"""Settings of landmark search that nobody gave."""

import numpy as np

from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, suggest_steps

_MOST = 4  # landmarks: each is searched by agents of its own


def suggest(dataset: Dataset, accelerated: bool) -> list[Suggestion]:
    """The landmarks that every training case has, and steps by how many cases there are."""
    train, names = dataset.splits["train"], dataset.info.landmarks
    missing = np.isnan(train["landmarks"]).any((0, 2))
    complete = tuple(n for n, gone in zip(names, missing, strict=True) if not gone)[:_MOST]
    left_out = [
        f"{name} is missing in {count} of {len(train)}"
        for name, count in zip(names, np.isnan(train["landmarks"]).any(2).sum(0), strict=True)
        if count
    ]
    first = "the first that every training case has"
    reason = "; ".join([first if complete else "every training case has none", *left_out[:_MOST]])
    return [
        Suggestion("landmarks", complete or names[:1], reason),
        suggest_steps(len(train), 1, epochs=10, accelerated=accelerated),
    ]

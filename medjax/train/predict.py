"""What all seeds predict for every case of a split."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from medjax.data.dataset import Split
from medjax.train import feed, mesh, step
from medjax.typing import Tree

Predict = Callable[[Any, Any, dict[str, Any]], dict[str, Any]]


@functools.lru_cache(maxsize=8)
def compile_predict(predict: Predict) -> Predict:
    """`predict` of one seed, compiled for all: arrays `[seed, batch, ...]`.

    The same function gives the same program: validation while training, the report and its
    calibration compile it once.
    """
    return jax.jit(step.over_seeds(predict, (0, 0, None)))


def predict_split(
    predict: Predict, weights: Tree, split: Split, *, columns: Sequence[str], batch: int
) -> dict[str, np.ndarray]:
    """Predictions of every case once, in order: arrays `[seed, n, ...]`.

    Where they depend on a column `length`, sequences are predicted in four groups of about one
    length, none longer than it has to be; what lies beyond is NaN.

    Args:
      predict: as `compile_predict` makes it.
      weights: (parameters, batch statistics), a seed axis first.
      columns: of the split, beside the image, that `predict` reads.
    """
    size = split.image_shape[0]
    out: dict[str, np.ndarray] = {}
    groups: Iterable[tuple[int | None, np.ndarray]] = [(None, np.arange(len(split)))]
    if "length" in columns:
        groups = buckets(split["length"], size=size)
    for bound, rows in groups:
        parts = [(rows[index], valid) for index, valid in feed.padded(len(rows), batch=batch)]

        def run(number: int, parts=parts, bound=bound) -> dict[str, np.ndarray]:
            part = split.batch(parts[number][0], columns)
            if bound:
                part = {k: v[:, :bound] if v.shape[1:2] == (size,) else v for k, v in part.items()}
            return jax.tree.map(np.asarray, predict(weights[0], weights[1], mesh.spread(part)))

        for predicted, (index, valid) in zip(mesh.everywhere(run, len(parts)), parts, strict=True):
            for name, values in predicted.items():
                inner = (size, *values.shape[3:]) if bound else values.shape[2:]
                shape = (len(values), len(split), *inner)
                stacked = out.setdefault(name, np.full(shape, np.nan, np.float32))
                stacked[:, index[valid], *([slice(bound)] * bool(bound))] = values[:, valid]
    return out


def buckets(length: np.ndarray, *, size: int, count: int = 4) -> Iterator[tuple[int, np.ndarray]]:
    """Sequences of about one length together, so that few shapes compile: the shape, and which."""
    bounds = np.unique(np.ceil(size * np.arange(1, count + 1) / count).astype(int))
    number = np.searchsorted(bounds, length)
    for i, bound in enumerate(bounds):
        if (number == i).any():
            yield int(bound), np.flatnonzero(number == i)

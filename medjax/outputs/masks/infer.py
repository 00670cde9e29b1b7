"""A network on images of any size: overlapping windows, blended, on the grid of the file."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medjax.data import geometry, patches, volumes
from medjax.data.dataset import Split
from medjax.ops import window
from medjax.outputs.base import Inferred, ModelSpec, Output, Weights
from medjax.train.predict import Predict, predict_split

OVERLAP = 0.5
_SPREAD = 0.125  # of the Gaussian, in sides of a window (nnU-Net, Isensee et al. 2021)


def infer_masks(
    output: Output[Any],
    predict: Predict,
    weights: Weights,
    split: Split,
    spec: ModelSpec,
    *,
    columns: Sequence[str],
    batch: int,
) -> Inferred:
    """Packed masks on the grids of the files, of each seed `[seed, n]` and of all together `[n]`.

    Arguments as of `infer_at_once`. Of one image at a time probabilities are held, 4 bytes for each
    voxel, class and seed.
    """
    by_seed: list[list[bytes]] = []
    of_ensemble: list[bytes] = []
    for i in range(len(split)):
        probability = predict_windows(
            predict, weights, split.read(i), patch=spec.image_shape[:-1], batch=batch
        )
        back = functools.partial(on_file_grid, row={k: v[i] for k, v in split.targets.items()})
        masks = [volumes.pack(back(p)) for p in probability]
        by_seed.append(masks)
        mean = output.ensemble({"probability": probability}, spec)["probability"]
        of_ensemble.append(masks[0] if len(masks) == 1 else volumes.pack(back(np.asarray(mean))))
    return Inferred({"mask": _objects(by_seed).T}, {"mask": _objects(of_ensemble)})


def _objects(values: list[Any]) -> np.ndarray:
    """As an array of Python objects, of as many axes as the lists have."""
    shape = (len(values), len(values[0])) if isinstance(values[0], list) else (len(values),)
    out = np.empty(shape, object)
    for place in np.ndindex(shape):
        value = values[place[0]]
        out[place] = value[place[1]] if isinstance(value, list) else value
    return out


def predict_windows(
    predict: Predict, weights: Weights, image: np.ndarray, *, patch: tuple[int, ...], batch: int
) -> np.ndarray:
    """Probabilities `[seed, *space, class]` of an image `[*space, channel]`.

    Windows share at least half of a side; each is weighted by a Gaussian about its centre. Where
    the image is smaller than a window its border repeats.
    """
    size = image.shape[:-1]
    padded_size = tuple(max(n, p) for n, p in zip(size, patch, strict=True))
    before = [-((w - n) // 2) for w, n in zip(padded_size, size, strict=True)]
    padded = patches.cut(image, before, padded_size)
    lines = [_bell(p) for p in patch]
    weight = functools.reduce(np.multiply.outer, lines)[..., None]
    begins = [
        window.starts(n, window=p, overlap=OVERLAP if p > 1 else 0.0)
        for n, p in zip(padded_size, patch, strict=True)
    ]
    total: np.ndarray | None = None
    for corners, part in _windows(padded, begins, patch, batch):
        part_answers = predict_split(predict, weights, part, columns=(), batch=batch)["probability"]
        if total is None:
            total = np.zeros((len(part_answers), *padded_size, part_answers.shape[-1]), np.float32)
        for k, corner in enumerate(corners):
            at = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
            total[(slice(None), *at)] += weight * part_answers[:, k]
    assert total is not None  # every image has a window
    total /= _norm(begins, lines, padded_size)[..., None]
    inner = tuple(slice(-b, -b + n) for b, n in zip(before, size, strict=True))
    return total[(slice(None), *inner)]


def _bell(side: int) -> np.ndarray:
    """A Gaussian over a side of a window, 1 in its middle; float32."""
    away = (np.arange(side) - (side - 1) / 2) / (side * _SPREAD)
    return np.maximum(np.exp(-0.5 * away**2), 1e-3).astype(np.float32)


def _norm(
    begins: Sequence[Sequence[int]], lines: Sequence[np.ndarray], padded_size: Sequence[int]
) -> np.ndarray:
    """The sum of the weights of all windows: a product over the axes, as windows lie in rows."""
    sums = [np.zeros(n, np.float32) for n in padded_size]
    for total, starts, line in zip(sums, begins, lines, strict=True):
        for start in starts:
            total[start : start + len(line)] += line
    return functools.reduce(np.multiply.outer, sums)


def _windows(
    image: np.ndarray, begins: Sequence[Sequence[int]], patch: tuple[int, ...], batch: int
) -> Iterator[tuple[list[tuple[int, ...]], Split]]:
    """So many windows at a time: their corners, and they as a split."""
    grid = np.stack(np.meshgrid(*begins, indexing="ij"), -1).reshape(-1, len(begins))
    corners = [tuple(map(int, c)) for c in grid]
    every = Split(
        {},
        [""] * len(corners),
        [""] * len(corners),
        [{}] * len(corners),
        lambda i: patches.cut(image, corners[i], patch),
        (*patch, image.shape[-1]),
        image.dtype,
    )
    for start in range(0, len(corners), batch):
        rows = range(start, min(start + batch, len(corners)))
        yield [corners[i] for i in rows], every.only(rows)


def on_file_grid(probability: np.ndarray, *, row: dict[str, Any]) -> np.ndarray:
    """The most probable class of each voxel of the file, uint8.

    Where voxels have another size there, probabilities are interpolated linearly, not classes.

    Args:
      probability: `[*space, class]` on the prepared grid.
      row: the columns `to_index` and `file_shape` of the case.
    """
    back, shape = row["to_index"], tuple(map(int, row["file_shape"]))
    if geometry.is_reordering(back):
        return geometry.reorder(probability.argmax(-1).astype(np.uint8), back, shape=shape)
    to_prepared = np.linalg.inv(back)
    best, out = np.full(shape, -1.0, np.float32), np.zeros(shape, np.uint8)
    for c in range(probability.shape[-1]):
        share = geometry.interpolate(probability[..., c], to_prepared, shape=shape)
        out[share > best] = c
        best = np.maximum(best, share)
    return out

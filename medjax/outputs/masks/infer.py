"""A network on images of any size: overlapping windows, blended, on the grid of the file."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data import geometry, patches, volumes
from medjax.data.dataset import Split
from medjax.data.masks.instances import classes_of
from medjax.errors import UserError
from medjax.ops import window
from medjax.outputs.base import Inferred, ModelSpec, Predicted, Weights
from medjax.outputs.masks import instances, metrics, voxels
from medjax.train import feed, mesh
from medjax.train.predict import Predict

OVERLAP = 0.5
_ARRAYS = 2  # of all probabilities at a time: the sum, and what is interpolated
_SIDES_OF = 32  # multiples, in sums on a device: few shapes are compiled for many sizes of images
_MOST_OF_DEVICE = 4  # the sum stays on the device, where it takes at most this part of its memory
_SPREAD = 0.125  # of the Gaussian, in sides of a window (nnU-Net, Isensee et al. 2021)


def infer_masks(
    predictor: Any,
    predict: Predict,
    weights: Weights,
    split: Split,
    spec: ModelSpec,
    *,
    columns: Sequence[str],
    batch: int,
    gallery: Split | None = None,
) -> Inferred:
    """Packed masks on the grids of the files, of each seed `[seed, n]` and of all together `[n]`;
    of a single structure also the histograms of its probability, `[..., 2, BINS]`.

    Arguments as of `infer_at_once`; of the structures that `predictor.largest_component` names only
    the largest piece is kept. Of one image at a time probabilities are held, 4 bytes for each
    voxel, class and seed.
    """
    answers: list[list[Predicted]] = []  # by case, of each seed and of all together
    largest = [spec.info.structures.index(name) + 1 for name in predictor.largest_component]
    single = len(spec.info.structures) == 1 and "reference" in split.on_demand
    for i in range(len(split)):
        probability = predict_windows(
            predict, weights, split.read(i), patch=spec.image_shape[:-1], batch=batch
        )
        mean = predictor.output.ensemble({"probability": probability}, spec)["probability"]
        reference = classes_of(split.on_demand["reference"](i), spec.info) if single else None
        row = {k: v[i] for k, v in split.targets.items()}
        decided = functools.partial(
            decide,
            row=row,
            reference=reference,
            largest=largest,
            keep=predictor.probabilities,
            seed_depth=predictor.seed_depth if spec.info.instances else None,
        )
        seeds = [decided(p) for p in probability]
        both = seeds[0] if len(seeds) == 1 else decided(np.asarray(mean))
        answers.append([*seeds, both])
    by_seed = [stack(of_case[:-1]) for of_case in answers]
    return Inferred(
        {
            name: np.stack([columns_of_case[name] for columns_of_case in by_seed], 1)
            for name in by_seed[0]
        },
        stack([of_case[-1] for of_case in answers]),
    )


def decide(
    probability: np.ndarray,
    *,
    row: Mapping[str, Any],
    reference: np.ndarray | None,
    largest: Sequence[int] = (),
    keep: bool = False,
    seed_depth: float | None = None,
) -> Predicted:
    """The packed `mask` of probabilities `[*space, class]` on the grid of the file; beside a
    reference also the `histogram` of those of a single structure.

    Args:
      row: the columns of the case; reference: its mask, on the grid of the file too: what was lost
        when it was shrunk for the network is still to be found.
      largest: structures of which the largest piece is kept.
      keep: with `probability` too, on the grid of the file, packed by structure in 255ths.
      seed_depth: as of `instances.separate`, where single things are told apart, whose depth is the
        last channel.
    """
    if seed_depth is None:
        mask = metrics.keep_largest(on_file_grid(probability, row=row), structures=largest)
    else:
        mask = _things_on_file_grid(probability, row=row, seed_depth=seed_depth)
        probability = probability[..., :-1]
    answer: Predicted = {"mask": volumes.pack(mask)}
    wanted = probability[..., 1:] if keep or reference is not None else probability[..., :0]
    shares = [*shares_on_file_grid(wanted, row=row)]  # of the structures
    if reference is not None:
        answer["histogram"] = voxels.histogram(shares[0], reference)
    if keep:
        answer["probability"] = [volumes.pack(np.rint(255 * share)) for share in shares]
    return answer


def _things_on_file_grid(
    probability: np.ndarray, *, row: Mapping[str, Any], seed_depth: float
) -> np.ndarray:
    """Numbers of things in the voxels of the file."""
    inside = on_file_grid(probability[..., :-1], row=row) > 0
    (depth,) = shares_on_file_grid(probability[..., -1:], row=row)
    return instances.separate(inside, depth, seed_depth=seed_depth)


def stack(answers: Sequence[Predicted]) -> Predicted:
    """Answers as columns: what is packed as objects, histograms stacked."""
    return {name: _column([answer[name] for answer in answers]) for name in answers[0]}


def _column(entries: Sequence[Any]) -> np.ndarray:
    if isinstance(entries[0], np.ndarray):
        return np.stack(entries)
    out = np.empty(len(entries), object)
    for i, entry in enumerate(entries):
        out[i] = entry
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
    corners = np.stack(np.meshgrid(*begins, indexing="ij"), -1).reshape(-1, len(begins))
    total: Any = None
    for index, valid in feed.padded(len(corners), batch=batch):
        part = {"image": np.stack([patches.cut(padded, corners[i], patch) for i in index])}
        answers = predict(weights[0], weights[1], mesh.spread(part))["probability"]
        if total is None:
            total, add = _start(answers, padded_size)
        total = add(total, answers, weight, corners[index], valid.sum())
    shares = np.asarray(total)[(slice(None), *map(slice, padded_size))]
    norm = _norm(begins, lines, padded_size)[..., None]
    shares = np.divide(shares, norm, out=shares if shares.flags.writeable else None)
    inner = tuple(slice(-b, -b + n) for b, n in zip(before, size, strict=True))
    return shares[(slice(None), *inner)]


def _start(answers: Any, size: Sequence[int]) -> tuple[Any, Callable[..., Any]]:
    """Zeros `[seed, *space, class]` for an image of this size like `answers` of some windows, and
    what adds windows to them, as of `window.add_windows`: on the device, where it has room."""
    check_memory(answers, size)
    rounded = [-(-n // _SIDES_OF) * _SIDES_OF for n in size]
    needed = 4 * len(answers) * answers.shape[-1] * math.prod(rounded)
    if jax.device_count() == 1 and needed <= mesh.memory_bytes() // _MOST_OF_DEVICE:
        return jnp.zeros((len(answers), *rounded, answers.shape[-1])), _add_on_device
    return np.zeros((len(answers), *size, answers.shape[-1]), np.float32), _add_on_host


def _add_on_host(
    total: np.ndarray, answers: Any, weight: np.ndarray, corners: np.ndarray, count: int
) -> np.ndarray:
    parts = np.asarray(answers)
    for k in range(count):
        at = tuple(slice(c, c + p) for c, p in zip(corners[k], weight.shape, strict=False))
        total[(slice(None), *at)] += weight * parts[:, k]
    return total


_add_on_device = jax.jit(window.add_windows, donate_argnums=0)


def check_memory(answers: np.ndarray, size: Sequence[int]) -> None:
    """Raises UserError if the probabilities of an image of this size are more than memory holds.

    Args:
      answers: of some windows, `[seed, window, *patch, class]`.
    """
    needed = _ARRAYS * 4 * len(answers) * answers.shape[-1] * math.prod(size)
    limit = mesh.host_memory_bytes()
    if needed > limit:
        raise UserError(
            f"an image of {' x '.join(map(str, size))} voxels needs {needed / 1e9:.1f} GB for the "
            f"probabilities of {answers.shape[-1]} classes and {len(answers)} seeds, this machine "
            f"has {limit / 1e9:.1f} GB: cut the image into parts, or train with larger `voxel_mm` "
            "or fewer `seeds`"
        )


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


def shares_on_file_grid(probability: np.ndarray, *, row: Mapping[str, Any]) -> Iterator[np.ndarray]:
    """The probability of each class in the voxels of the file, one class after the other; linearly
    interpolated where voxels have another size there.

    Args:
      probability: `[*space, class]` on the prepared grid.
      row: the columns `to_index` and `file_shape` of the case.
    """
    back, shape = row["to_index"], tuple(map(int, row["file_shape"]))
    for c in range(probability.shape[-1]):
        if geometry.is_reordering(back):
            yield geometry.reorder(probability[..., c], back)
        else:
            yield geometry.interpolate(probability[..., c], np.linalg.inv(back), shape=shape)


def on_file_grid(probability: np.ndarray, *, row: Mapping[str, Any]) -> np.ndarray:
    """The most probable class of each voxel of the file, uint8; arguments as of
    `shares_on_file_grid`."""
    shape = tuple(map(int, row["file_shape"]))
    best, out = np.full(shape, -1.0, np.float32), np.zeros(shape, np.uint8)
    for c, share in enumerate(shares_on_file_grid(probability, row=row)):
        out[share > best] = c
        best = np.maximum(best, share)
    return out

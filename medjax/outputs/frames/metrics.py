"""Metrics of temporal localisation, each declared here once, with sequence weights for many
weightings at once; `weight` is `[b, n]`, and each returns `[b]`.

Of `frames`: `present` `[n, name]` and `found` `[n, name, 3]`: found minus true frame, the same the
short way round the cycle (alike where there is none), and milliseconds a frame.
Of `planes`: `marks` and `score` `[n, time, name]`, NaN beyond the length.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from medjax.data import walk
from medjax.evaluation.metrics import (
    Floats,
    Metric,
    binary_average_precision,
    by_order,
    marked,
    mean_defined,
    ratio,
)

THRESHOLD = 0.5  # of the score from which a frame counts as of a plane


def _mean_over_sequences(value: np.ndarray, present, weight, name: int | None) -> Floats:
    """The mean over sequences, of one name or of all."""
    pick = slice(None) if name is None else slice(name, name + 1)
    return mean_defined(np.where(present, value, np.nan)[:, pick], weight)


def afd(present, predicted, weight, *, name: int | None = None) -> Floats:
    """mean |found - true|, frames"""
    return _mean_over_sequences(np.abs(predicted[..., 0]), present, weight, name)


def afd_cyclic(present, predicted, weight, *, name: int | None = None) -> Floats:
    """the same, the short way round the cycle"""
    return _mean_over_sequences(np.abs(predicted[..., 1]), present, weight, name)


def bias(present, predicted, weight, *, name: int | None = None) -> Floats:
    """mean of found - true, the short way round, frames; positive: found too late"""
    return _mean_over_sequences(predicted[..., 1], present, weight, name)


def sd(present, predicted, weight, *, name: int | None = None) -> Floats:
    """standard deviation of found - true, the short way round, frames"""
    square = _mean_over_sequences(predicted[..., 1] ** 2, present, weight, name)
    return np.sqrt(np.maximum(square - bias(present, predicted, weight, name=name) ** 2, 0.0))


@marked(scale="rate")
def within(present, predicted, weight, *, name: int | None = None, frames: int) -> Floats:
    """share found at most so many frames off, the short way round"""
    return _mean_over_sequences(
        (np.abs(predicted[..., 1]) <= frames).astype(float), present, weight, name
    )


def ms(present, predicted, weight, *, name: int | None = None) -> Floats:
    """mean |found - true|, the short way round, milliseconds"""
    return _mean_over_sequences(
        np.abs(predicted[..., 1]) * predicted[..., 2], present, weight, name
    )


def of_frames(names: Sequence[str], *, milliseconds: bool) -> dict[str, Metric]:
    """All metrics of `frames` by name."""
    declared: dict[str, Callable] = {
        "afd": afd,
        "afd_cyclic": afd_cyclic,
        "bias": bias,
        "sd": sd,
        "within1": partial(within, frames=1),
        "within2": partial(within, frames=2),
    }
    declared |= {"ms": ms} if milliseconds else {}
    return {
        "afd_cyclic": afd_cyclic,
        **{
            f"{name.lower()}_{key}": partial(metric, name=j)
            for j, name in enumerate(names)
            for key, metric in declared.items()
        },
    }


def _mean(metric: Callable, marks, score, weight, name: int | None) -> Floats:
    """Of one name, or the mean over those with a true frame; `note_absent` tells the others."""
    there = np.flatnonzero((marks > 0).any((0, 1)))
    names = (there if len(there) else range(marks.shape[2])) if name is None else [name]
    return np.mean([metric(marks[..., j], score[..., j], weight) for j in names], axis=0)


def note_absent(marks: np.ndarray, names: Sequence[str], *, split: str) -> list[str]:
    """A note of names that no sequence of a split has; `marks` as above."""
    absent = [name for j, name in enumerate(names) if not (marks[..., j] > 0).any()]
    return walk.note_of(absent, "name", f"without a frame in {split}, in no mean over names there")


@marked(scale="share")
def f1(marks, score, weight, *, name: int | None = None) -> Floats:
    """2 TP / (2 TP + FP + FN) of frames whose score is above 0.5; the mean over names"""

    def frame_f1(true, value, weight) -> Floats:
        predicted, true = np.nan_to_num(value) > THRESHOLD, np.nan_to_num(true) > 0
        both, either = (predicted & true).sum(1), predicted.sum(1) + true.sum(1)
        return ratio(2 * weight @ both, weight @ either)

    return _mean(frame_f1, marks, score, weight, name)


@marked(scale="share", ranks=by_order)
def average_precision(marks, score, weight, *, name: int | None = None) -> Floats:
    """area under precision over recall of the frames' scores; the mean over names"""

    def frame_average_precision(true, value, weight) -> Floats:
        real = ~np.isnan(true)
        case, _ = np.nonzero(real)
        return binary_average_precision(value[real], true[real], weight[:, case])

    return _mean(frame_average_precision, marks, score, weight, name)


def off(marks: np.ndarray, score: np.ndarray, *, cyclic: bool = False) -> np.ndarray:
    """From the frame with the highest score to the nearest true one: `[n, name]`, signed, frames.

    NaN where no frame has the name, or none a score.

    Args:
      cyclic: whether the first frame follows the last, so that there are two ways.
    """
    out = np.full(marks[:, 0].shape, np.nan)
    for i, j in np.ndindex(*out.shape):
        true = np.flatnonzero(marks[i, :, j] > 0)
        if len(true) and not np.isnan(score[i, :, j]).all():
            apart = np.nanargmax(score[i, :, j]) - true
            if cyclic:
                length = int((~np.isnan(marks[i, :, j])).sum())
                apart = (apart + length // 2) % length - length // 2
            out[i, j] = apart[np.abs(apart).argmin()]
    return out


@marked(scale="rate")
def hit_rate(
    marks, score, weight, *, name: int | None = None, frames: int, cyclic: bool = False
) -> Floats:
    """share of sequences in which the best frame lies at most so many frames from a true one"""

    def within_frames(true, value, weight) -> Floats:
        away = np.abs(off(true[..., None], value[..., None], cyclic=cyclic))[:, 0]
        return mean_defined(np.where(np.isnan(away), np.nan, away <= frames), weight)

    return _mean(within_frames, marks, score, weight, name)


def of_planes(names: Sequence[str], *, frames: int, cyclic: bool = False) -> dict[str, Metric]:
    """All metrics of `planes` by name; `frames` and `cyclic` as of `hit_rate`."""
    declared: dict[str, Callable] = {
        "f1": f1,
        "average_precision": average_precision,
        "hit_rate": partial(hit_rate, frames=frames, cyclic=cyclic),
    }
    return {
        **declared,
        **{
            f"{name}_{key}": partial(metric, name=j)
            for j, name in enumerate(names)
            for key, metric in declared.items()
        },
    }

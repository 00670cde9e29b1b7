"""Single things of one structure: told apart by seeds, and matched with those of the reference."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from medjax.data.masks.instances import MOST
from medjax.errors import UserError
from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined, ratio

MEASURES = ("ap_50", "ap_50_95", "things_predicted", "things_reference")
_THRESHOLDS = tuple(t / 100 for t in range(50, 100, 5))
_LEAST_SEED = 3  # pixels


def separate(inside: np.ndarray, depth: np.ndarray, *, seed_depth: float) -> np.ndarray:
    """Numbers of things `[*space]`, uint16: each is what a flood from its seed covers first.

    Seeds are the pieces that are deeper than `seed_depth`, and the deepest pixel of what has none;
    the flood goes from deep to shallow (Beucher and Lantuejoul 1979). Beyond 65,535 things the rest
    are one.

    Args:
      inside: where the structure is; depth: of each pixel in its thing, from 0 to 1.

    Raises:
      UserError: without scikit-image.
    """
    touching = np.ones((3,) * inside.ndim, int)
    seeds, count = ndimage.label(inside & (depth >= seed_depth), touching)
    sizes = np.bincount(seeds.reshape(-1), minlength=count + 1)
    seeds[sizes[seeds] < _LEAST_SEED] = 0
    pieces, many = ndimage.label(inside, touching)
    without = np.setdiff1d(np.arange(1, many + 1), pieces[seeds > 0])
    if len(without):
        places = np.array(ndimage.maximum_position(depth, pieces, without))
        seeds[tuple(places.T)] = count + np.arange(1, len(without) + 1)
    flooded = find_watershed()(-depth, seeds, connectivity=touching, mask=inside)
    numbers = np.unique(np.append(0, flooded), return_inverse=True)[1][1:]
    return np.minimum(numbers, MOST).astype(np.uint16).reshape(inside.shape)


def find_watershed() -> Callable[..., np.ndarray]:
    """Of scikit-image; raises UserError where it is not installed."""
    try:
        from skimage.segmentation import watershed
    except ImportError:
        raise UserError(
            "single things are told apart by scikit-image: pip install 'medjax[instances]'"
        ) from None
    return watershed


def score(predicted: np.ndarray, reference: np.ndarray) -> Floats:
    """What `MEASURES` are of an image: TP / (TP + FP + FN) of things at an overlap of 0.5, the mean
    of that over 0.5, 0.55, ..., 0.95, and how many things there are.

    Two things are one where their intersection over union is above the threshold, which each can
    have with one other at most. The measure of the Data Science Bowl 2018 (Caicedo et al., Nature
    Methods 16, 2019). NaN where there is nothing in both.
    """
    counts = int(predicted.max()), int(reference.max())
    sides = [x.reshape(-1).astype(np.int64) for x in (predicted, reference)]
    # Of the pairs that meet alone: a table of all with all would take the memory of many images.
    pairs, both = np.unique(sides[0] * (counts[1] + 1) + sides[1], return_counts=True)
    thing, other = np.divmod(pairs, counts[1] + 1)
    sizes = [np.bincount(side) for side in sides]
    overlap = both / (sizes[0][thing] + sizes[1][other] - both)
    best = np.zeros(counts[0] + 1)
    np.maximum.at(best, thing, np.where((thing > 0) & (other > 0), overlap, 0.0))
    hits = np.array([(best > t).sum() for t in _THRESHOLDS], float)
    shares = ratio(hits, np.full(len(hits), float(sum(counts))) - hits)
    return np.array([shares[0], shares.mean(), *counts])


# Scores `[n, 1, measure]` of images have those of `score` last, behind the ones of the structure.


@marked(scale="share", bounds=(0.0, 1.0))
def ap_50(present, scores, weight) -> Floats:
    """mean over images of TP / (TP + FP + FN) of single things, at an overlap above 0.5"""
    return mean_defined(scores[:, 0, -4], weight)


@marked(scale="share", bounds=(0.0, 1.0))
def ap_50_95(present, scores, weight) -> Floats:
    """the same, mean over the overlaps 0.5, 0.55, ..., 0.95"""
    return mean_defined(scores[:, 0, -3], weight)


@marked(bounds=(0.0, np.inf))
def count_error(present, scores, weight) -> Floats:
    """mean over images of |predicted - true| number of things"""
    return mean_defined(np.abs(scores[:, 0, -2] - scores[:, 0, -1]), weight)


METRICS: dict[str, Metric] = {"ap_50": ap_50, "ap_50_95": ap_50_95, "count_error": count_error}

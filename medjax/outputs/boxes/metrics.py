"""Box metrics, each declared here once, with example weights for many weightings at once.

`match` says of each predicted box of a case whether it meets a reference. Each metric takes
`counts` `[n]` (the reference's boxes), `boxes` `[n, most, 1 + len(THRESHOLDS)]` (score, NaN where a
case has no more boxes, and whether it is a hit at each threshold) and `weight` `[b, n]`, and
returns `[b]`. Without a box in any reference all but the counts are undefined.

Of several classes both have an axis more, `[n, class]` and `[n, class, most, ...]`, and a metric is
the mean over classes of which any case has a box.
"""

import functools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, by_order, marked, ratio

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))  # intersection over union
FROC_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false positives a case
_RECALLS = np.linspace(0.0, 1.0, 101)


def by_order_of_boxes(boxes: np.ndarray) -> np.ndarray:
    """The boxes with the order of their scores within their class in place of these."""
    out = boxes.copy()
    for c in range(boxes.shape[1]) if boxes.ndim == 4 else [slice(None)]:
        out[:, c, ..., 0] = by_order(boxes[:, c, ..., :1])[..., 0]
    return out


def _over_classes(metric: Callable[..., Floats]) -> Callable[..., Floats]:
    """The mean of a metric of one class over those that are defined."""

    @functools.wraps(metric)
    def mean(counts, boxes, weight, *, places: slice = slice(None), **options) -> Floats:
        if counts.ndim == 1:
            return metric(counts, boxes, weight, **options)
        numbers = range(counts.shape[1])[places]
        values = [metric(counts[:, c], boxes[:, c], weight, **options) for c in numbers]
        known = ~np.isnan(values)
        return ratio(np.where(known, values, 0.0).sum(0), known.sum(0))

    return mean


def overlaps(a: np.ndarray, b: np.ndarray) -> Floats:
    """Intersection over union of boxes `[n, 2 * ndim]` with boxes `[m, 2 * ndim]`: `[n, m]`."""
    (low_a, high_a), (low_b, high_b) = (np.split(x, 2, axis=1) for x in (a, b))
    inner = np.minimum(high_a[:, None], high_b[None]) - np.maximum(low_a[:, None], low_b[None])
    both = np.maximum(inner, 0.0).prod(-1)
    size_a, size_b = (high_a - low_a).prod(1), (high_b - low_b).prod(1)
    return ratio(both, size_a[:, None] + size_b[None] - both)


def match(scores: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Which predicted boxes of one case and class are hits: `[n, len(THRESHOLDS)]`, bool.

    As in COCO: from the highest score on, each box takes the reference that it overlaps most among
    those that none has taken, if that is at least the threshold.

    Args:
      scores: `[n]`.
      overlap: `[n, m]`, intersection over union with each reference.
    """
    taken = [met_references(scores, overlap, threshold=t) >= 0 for t in THRESHOLDS]
    return np.stack(taken, 1)


def met_references(scores: np.ndarray, overlap: np.ndarray, *, threshold: float) -> np.ndarray:
    """Which reference each predicted box of one case and class meets, as of `match`: `[n]`, -1 for
    none."""
    met, free = np.full(len(scores), -1), np.ones(overlap.shape[1], bool)
    for i in np.argsort(-scores, kind="stable"):
        best = np.where(free, overlap[i], -1.0)
        if best.size and best.max() >= threshold:
            met[i] = best.argmax()
            free[met[i]] = False
    return met


def _curve(boxes: np.ndarray, weight: np.ndarray, threshold: int) -> tuple[Floats, Floats]:
    """From the highest score on, the weight of hits and of others so far, two `[b, k]`; boxes of
    one score come together."""
    case, place = np.nonzero(~np.isnan(boxes[..., 0]))
    score, hit = boxes[case, place, 0], boxes[case, place, 1 + threshold]
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    by_box = weight[:, case[order]]
    hits, others = (np.cumsum(by_box * side, 1)[:, last] for side in (hit[order], 1 - hit[order]))
    return hits, others


def _precisions(
    counts: np.ndarray, boxes: np.ndarray, weight: np.ndarray, threshold: int
) -> tuple[Floats, Floats]:
    """Recall, and the highest precision at it or a higher one; two `[b, k]`."""
    hits, others = _curve(boxes, weight, threshold)
    recall = ratio(hits, np.broadcast_to((weight @ counts)[:, None], hits.shape))
    precision = np.nan_to_num(ratio(hits, hits + others))
    return recall, np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]


def precision_recall(
    counts: np.ndarray, boxes: np.ndarray, weight: np.ndarray, *, threshold: float = 0.5
) -> tuple[Floats, Floats]:
    """The curve of one class: recall, and the highest precision at it or beyond; two `[b, k]`."""
    return _precisions(counts, boxes, weight, THRESHOLDS.index(threshold))


def _interpolated(counts, boxes, weight, threshold: int) -> Floats:
    """The mean of the precision at 101 recalls, as COCO has it; `[b]`."""
    recall, precision = _precisions(counts, boxes, weight, threshold)
    padded = np.concatenate([precision, np.zeros((len(precision), 1))], 1)
    at = [padded[row, np.searchsorted(recall[row], _RECALLS - 1e-12)] for row in range(len(padded))]
    return np.where(weight @ counts > 0, np.mean(at, 1), np.nan)


@marked(scale="share", bounds=(0.0, 1.0), ranks=by_order_of_boxes)
@_over_classes
def average_precision(counts, boxes, weight, *, threshold: float = 0.5) -> Floats:
    """area under precision over recall at one intersection over union, at 101 recalls (COCO)"""
    return _interpolated(counts, boxes, weight, THRESHOLDS.index(threshold))


@marked(scale="share", bounds=(0.0, 1.0), ranks=by_order_of_boxes)
@_over_classes
def average_precision_voc(counts, boxes, weight, *, threshold: float = 0.5) -> Floats:
    """the same area without steps, as in VOC since 2010"""
    recall, precision = _precisions(counts, boxes, weight, THRESHOLDS.index(threshold))
    rise = np.diff(recall, axis=1, prepend=0.0)
    return np.where(weight @ counts > 0, (rise * precision).sum(1), np.nan)


@marked(scale="share", bounds=(0.0, 1.0), ranks=by_order_of_boxes)
@_over_classes
def average_precision_all(counts, boxes, weight) -> Floats:
    """mean of the area at intersections over union of 0.5 to 0.95 (COCO)"""
    return np.mean([_interpolated(counts, boxes, weight, t) for t in range(len(THRESHOLDS))], 0)


def froc_curve(counts, boxes, weight, *, threshold: float = 0.5) -> Floats:
    """The sensitivity at each of `FROC_RATES` false positives a case at most: `[b, rate]`."""
    hits, others = _curve(boxes, weight, THRESHOLDS.index(threshold))
    rate = ratio(others, np.broadcast_to(weight.sum(1)[:, None], others.shape))
    allowed = [np.where(rate <= r, hits, 0.0).max(1, initial=0.0) for r in FROC_RATES]
    return ratio(np.stack(allowed, 1), np.repeat((weight @ counts)[:, None], len(FROC_RATES), 1))


@marked(scale="share", bounds=(0.0, 1.0), ranks=by_order_of_boxes)
@_over_classes
def froc(counts, boxes, weight) -> Floats:
    """mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a case"""
    return froc_curve(counts, boxes, weight).mean(1)


@marked(bounds=(0.0, np.inf))
@_over_classes
def count_error(counts, boxes, weight, *, score: float = 0.5) -> Floats:
    """mean absolute difference of the numbers of boxes in a case, predicted (above a score) and
    true"""
    predicted = (np.nan_to_num(boxes[..., 0], nan=-np.inf) >= score).sum(1)
    return ratio(weight @ np.abs(predicted - counts), weight.sum(1))


def declared(*, score: float, classes: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics by name.

    Args:
      score: from which on a box is counted.
      classes: names, each of which has its average precision too where there are several.
    """
    named = classes if len(classes) > 1 else ()
    return {
        "map_50": average_precision,
        "map_50_95": average_precision_all,
        "froc": froc,
        "count_error": partial(count_error, score=score),
        **{
            f"ap_50_{name}": partial(average_precision, places=slice(i, i + 1))
            for i, name in enumerate(named)
        },
    }

"""Retrieval metrics, each declared here once: how well the cases that are found fit the query.

`score_ranking` scores what one query finds. Each metric takes the class of every query `[n]`, its
scores `[n, len(MEASURES)]` and `weight` `[b, n]`, and returns `[b]`: the mean over queries. A query
whose class the gallery lacks has nothing to find: what counts relevant cases is undefined for it,
which is NaN and counts nowhere.
"""

from collections.abc import Callable

import numpy as np

from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined

K = 5  # neighbours that are looked at
RECALLS = tuple(tenth / 10 for tenth in range(11))  # at which precision is drawn
MEASURES = (
    "ap_at_5",
    "ap_at_5_published",
    "precision_at_1",
    "precision_at_5",
    "recall_at_5",
    "map",
    "majority_vote_at_5",
    "ndcg",
)


def score_ranking(ranking: np.ndarray, label: int, *, classes: int, ordered: bool) -> Floats:
    """What `MEASURES` are of one query.

    Args:
      ranking: the classes of the gallery, the nearest case first, `[n]`.
      label: the class of the query.
      classes: how many there are; with one alone nothing can be told, and all is NaN.
      ordered: whether a class near that of the query is relevant too, for `ndcg`: 1 - its distance
        over the largest one.
    """
    if classes < 2:
        return np.full(len(MEASURES), np.nan)
    hit, k = ranking == label, min(K, len(ranking))
    relevant, hits = int(hit.sum()), int(hit[:k].sum())
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    top = float((precision * hit)[:k].sum())
    gain = 1 - np.abs(ranking - label) / max(classes - 1, 1) if ordered else hit.astype(float)
    return np.array(
        [
            _share(top, min(k, relevant)),
            top / hits if hits else 0.0,
            float(hit[0]),
            hits / k,
            _share(hits, relevant),
            _share(float((precision * hit).sum()), relevant),
            _vote(ranking[:k], label, classes),
            _share(_discounted(gain), _discounted(np.sort(gain)[::-1])),
        ]
    )


def trace_recall(ranking: np.ndarray, label: int) -> Floats:
    """The highest precision of one query at `RECALLS` or more, `[len(RECALLS)]`; NaN where it has
    nothing to find. Arguments as of `score_ranking`."""
    hit = ranking == label
    if not hit.any():
        return np.full(len(RECALLS), np.nan)
    count = np.cumsum(hit)
    precision = count / np.arange(1, len(hit) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[np.searchsorted(count, np.maximum(np.ceil(np.array(RECALLS) * count[-1]), 1))]


def _share(part: float, total: float) -> float:
    """NaN of nothing."""
    return part / total if total else np.nan


def _vote(ranking: np.ndarray, label: int, classes: int) -> float:
    """Whether most neighbours have the class; where several classes have as many, its share."""
    votes = np.bincount(ranking, minlength=classes)
    first = np.flatnonzero(votes == votes.max())
    return float(label in first) / len(first)


def _discounted(gain: np.ndarray) -> float:
    """Jarvelin and Kekalainen 2002, with the logarithm of 1 + the rank."""
    return float((gain / np.log2(np.arange(2, len(gain) + 2))).sum())


def _mean_of(name: str, text: str, *, rate: bool = False) -> Metric:
    column = MEASURES.index(name)

    @marked(scale="rate" if rate else "share", bounds=(0.0, 1.0))
    def metric(label: np.ndarray, scores: np.ndarray, weight: np.ndarray) -> Floats:
        return mean_defined(scores[:, column], weight)

    metric.__doc__ = text
    return metric


METRICS: dict[str, Callable[..., Floats]] = {
    name: _mean_of(name, text, rate=name == "precision_at_1")
    for name, text in (
        (
            "ap_at_5",
            "precision at each hit among the 5 nearest, summed, over 5 or the number of cases "
            "of the class",
        ),
        (
            "ap_at_5_published",
            "the same over the hits that were found, as retrieval with MedMNIST was published: "
            "more misses raise it",
        ),
        ("precision_at_1", "share of queries whose nearest case has their class"),
        ("precision_at_5", "share of the 5 nearest cases that have the class of the query"),
        ("recall_at_5", "share of all cases of the class that are among the 5 nearest"),
        ("map", "mean average precision: precision at each hit, over all cases of the class"),
        (
            "majority_vote_at_5",
            "share of queries whose class most of the 5 nearest have; of classes with as many "
            "votes each counts its part",
        ),
        (
            "ndcg",
            "normalised discounted cumulative gain of the whole ranking; of ordered classes near "
            "ones count in part",
        ),
    )
}

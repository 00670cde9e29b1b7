"""The gallery ranked for each query, and what networks answer with it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.ops.neighbours import measure_distances, pack_bits
from medjax.outputs.base import Inferred, ModelSpec, Predicted, Weights
from medjax.outputs.embeddings.adjusting import (
    Adjust,
    leave_alone,
    make_adjustment,
    prefer_classes,
)
from medjax.outputs.embeddings.metrics import MEASURES, K, score_ranking, trace_recall
from medjax.train.predict import Predict, predict_split

HAMMING, COSINE = "hamming", "cosine"
EMBEDDING = "embedding"
FEATURES = "features"  # that the embedding was made of
_BLOCK = 256  # queries whose distances to the whole gallery are held in memory at once


def infer(
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
    """The embeddings of a split, and what each finds in the gallery; as of `infer_at_once`.

    Seeds answer together with their embeddings beside one another.

    Args:
      predictor: its `distance` ranks, and what `make_adjustment` does to that.
    """
    by_seed = predict_split(predict, weights, split, columns=columns, batch=batch)
    if gallery is None:
        return Inferred(by_seed, join_seeds(by_seed))
    known = predict_split(predict, weights, gallery, columns=(), batch=batch)
    return rank_embeddings(predictor, split, gallery, spec, by_seed, known, batch=batch)


def rank_embeddings(
    predictor: Any,
    split: Split,
    gallery: Split,
    spec: ModelSpec,
    by_seed: Predicted,
    known: Predicted,
    *,
    batch: int,
) -> Inferred:
    """The same of embeddings that are there.

    Args:
      by_seed: of the split, as `predict_split` gives them; known: of the gallery.
    """
    rank = Ranker(split, gallery, spec, predictor.distance)
    change = make_adjustment(predictor, split, rank.shuffled, spec, batch=batch)
    # While a network is trained there are no probabilities yet.
    by_class = predictor.known_classes and FEATURES in by_seed
    compared = FEATURES if by_class else EMBEDDING

    def rank_seeds(chosen: slice) -> Predicted:
        """By the embeddings of some seeds beside one another."""
        mine, theirs = (
            np.concatenate(list(values[compared][chosen]), -1) for values in (by_seed, known)
        )
        if not by_class:
            return rank(mine, theirs, adjust=change)
        share = np.asarray(by_seed[EMBEDDING][chosen]).mean(0)
        return rank(mine, theirs, adjust=prefer_classes(share, rank.shuffled, change))

    ranked = [rank_seeds(slice(i, i + 1)) for i in range(len(by_seed[EMBEDDING]))]
    stacked = {name: np.stack([r[name] for r in ranked]) for name in ranked[0]}
    # Of one seed the ensemble is that one's.
    ensemble = ranked[0] if len(ranked) == 1 else rank_seeds(slice(None))
    return Inferred({**by_seed, **stacked}, {**join_seeds(by_seed), **ensemble})


def join_seeds(predicted: Predicted) -> Predicted:
    """The embeddings `[seed, n, feature]` of all seeds beside one another."""
    return {EMBEDDING: jnp.concatenate(list(predicted[EMBEDDING]), -1)}


class Ranker:
    """Ranks one gallery for the queries of one split, by whatever embeddings."""

    def __init__(self, queries: Split, gallery: Split, spec: ModelSpec, distance: str):
        """`distance`: one of `ops.neighbours.DISTANCES`."""
        self.queries, self.gallery, self.spec, self.distance = queries, gallery, spec, distance
        # The gallery in an order of chance, so that equal distances favour no class.
        self.chance = np.random.default_rng(0).permutation(len(gallery))
        self.shuffled = gallery.only(self.chance)
        self.subject = np.array(self.shuffled.subject_id)

    def __call__(
        self, embedding: np.ndarray, known: np.ndarray, *, adjust: Adjust = leave_alone
    ) -> Predicted:
        """What every query finds, by embeddings `[n, feature]` and those of the gallery.

        Args:
          adjust: changes the distances of a query to the cases of `shuffled`.
        """
        rows = measure_rows(embedding, np.asarray(known)[self.chance], self.distance)
        answers = self._collect(adjust(i, row) for i, row in enumerate(rows))
        if self.distance == HAMMING:
            answers["by_bits"] = self._score_prefixes(embedding, known)
        return answers

    def _score_prefixes(self, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
        """`ap_at_5` of each query by the first bits of codes alone, `[n, size]`."""
        place, scores = MEASURES.index("ap_at_5"), []
        for bits in list_prefixes(np.shape(codes)[1]):
            rows = measure_rows(codes[:, :bits], known[self.chance][:, :bits], HAMMING)
            scores.append(self._collect(rows)["scores"][:, place])
        return np.stack(scores, 1)

    def at_random(self) -> Predicted:
        """What a random order of the gallery would find."""
        draw = np.random.default_rng(1)
        return self._collect(draw.random(len(self.gallery)) for _ in range(len(self.queries)))

    def _collect(self, distances: Iterable[np.ndarray]) -> Predicted:
        rows = [self._rank(i, row) for i, row in enumerate(distances)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _rank(self, query: int, distance: np.ndarray) -> Predicted:
        """One query, by distances to the gallery in the order of chance."""
        others = np.flatnonzero(self.subject != self.queries.subject_id[query])
        order = others[np.argsort(distance[others], kind="stable")]
        row, label = self.chance[order], self.gallery["label"]
        classes, scores = self.spec.info.classes, np.full(len(MEASURES), np.nan)
        mine = int(self.queries["label"][query])
        if len(row) and not np.isnan(distance[order]).any():  # else nothing was found
            ordered = bool(self.spec.info.ordered)
            scores = score_ranking(label[row], mine, classes=len(classes), ordered=ordered)
        near = np.pad(row[:K], (0, max(K - len(row), 0)), constant_values=-1)
        far = np.pad(distance[order][:K], (0, max(K - len(row), 0)), constant_values=np.nan)
        names = [self.gallery.case_id[i] if i >= 0 else "" for i in near]
        near_classes = [str(classes[label[i]]) if i >= 0 else "" for i in near]
        return {
            "scores": scores,
            "curve": trace_recall(label[row], mine) + 0 * scores[0],  # as undefined as the scores
            "neighbour": np.array(names, object),
            "neighbour_label": np.array(near_classes, object),
            "neighbour_row": near,
            "distance": far,
            "excluded": np.array(len(self.gallery) - len(others)),
        }


def list_prefixes(bits: int) -> list[int]:
    """So many bits of a code are compared, to see what more of them add: 8, 16, ..., all."""
    return [*(2**i for i in range(3, 10) if 2**i < bits), bits]


def measure_rows(embedding: np.ndarray, known: np.ndarray, distance: str) -> Iterator[np.ndarray]:
    """The distances from every query, by embeddings `[n, feature]`, to each of a gallery."""
    vectors, asked = (_as_vectors(np.asarray(v), distance) for v in (known, embedding))
    for begin in range(0, len(asked), _BLOCK):
        block = asked[begin : begin + _BLOCK]
        yield from np.asarray(measure_distances(block, vectors, distance=distance), float)


def _as_vectors(embedding: np.ndarray, distance: str) -> Any:
    """As the distance takes them: bits are packed."""
    if distance != HAMMING:
        return jnp.asarray(embedding, jnp.float32)
    pack: Callable[[Any], Any] = jax.vmap(pack_bits)
    return pack(jnp.asarray(embedding > 0.5))

"""How much metadata count beside the image: weights chosen on cases that are no queries."""

import dataclasses
from typing import NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.outputs.base import Predicted, Weights
from medjax.outputs.embeddings.metadata import MetadataDistance, count_missing
from medjax.outputs.embeddings.metrics import MEASURES, score_ranking
from medjax.outputs.embeddings.predictions import RetrievalPredictions
from medjax.outputs.embeddings.ranking import (
    EMBEDDING,
    FEATURES,
    measure_rows,
    rank_embeddings,
)
from medjax.tasks.embedding.predictor import EmbeddingPredictor
from medjax.tasks.embedding.rivals import Gallery
from medjax.train.predict import compile_predict, predict_split
from medjax.train.task import Task

_FACTORS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # of the mean distance between images
_ROUNDS = 2
_MOST_QUERIES = 500


class ChosenWeights(NamedTuple):
    """Weights of metadata.

    Attributes:
      predictor: with them; text: what was chosen, and on which cases.
    """

    predictor: EmbeddingPredictor
    text: str


def choose_weights(
    gallery: Gallery,
    predictor: EmbeddingPredictor,
    task: Task,
    weights: Weights,
    *,
    validation: Split | None,
) -> ChosenWeights:
    """The weights by which the queries of `validation` find most, by `ap_at_5` of the distances
    alone, before classes are preferred or a short list is ordered anew.

    One metadata after the other, twice. Without a validation split the cases of the gallery ask
    the others, those of their own subject left out.

    Args:
      weights: of the task, a seed axis first.
      validation: None where the report is on it.

    Raises:
      UserError: for metadata that the gallery does not have.
    """
    asking = gallery.train if validation is None else validation
    queries = asking.only(np.random.default_rng(0).permutation(len(asking))[:_MOST_QUERIES])
    names, train = predictor.metadata, gallery.train
    known = MetadataDistance(train, names)
    by_seed, of_gallery = _predict(gallery, task, weights, queries, train)
    # What distances are of: with the class known first they are not of its probabilities.
    compared = FEATURES if predictor.known_classes and FEATURES in by_seed else EMBEDDING
    asked, given = (np.concatenate(list(x[compared]), -1) for x in (by_seed, of_gallery))
    images = np.stack([*measure_rows(asked, given, predictor.distance)])
    facts = np.stack([known.measure(row) for row in queries.metadata])  # [query, column, n]
    scale = images.mean() / np.maximum(facts.mean((0, 2)), 1e-9)
    chosen = _ascend(images, facts * scale[:, None], queries, train)
    made = tuple(float(v) for v in chosen * scale)
    return ChosenWeights(
        dataclasses.replace(predictor, metadata_weights=made),
        _describe(names, made, chosen, queries, train, on_gallery=validation is None),
    )


def _ascend(images: np.ndarray, facts: np.ndarray, queries: Split, train: Split) -> np.ndarray:
    """The factors `[column]`, one chosen after the other; of equal ones the smallest."""
    factors = np.zeros(facts.shape[1])
    for _ in range(_ROUNDS):
        for column in range(len(factors)):
            tried = [np.where(np.arange(len(factors)) == column, f, factors) for f in _FACTORS]
            summed = (images + np.einsum("c,qcn->qn", f, facts) for f in tried)
            scores = [_score(distance, queries, train) for distance in summed]
            factors = tried[int(np.argmax(np.round(scores, 9)))]
    return factors


def _score(distance: np.ndarray, queries: Split, train: Split) -> float:
    """The mean `ap_at_5` of queries by distances `[query, n]`."""
    subject, label = np.array(train.subject_id), train["label"]
    scores = []
    for i, row in enumerate(distance):
        others = np.flatnonzero(subject != queries.subject_id[i])
        near = others[np.argsort(row[others], kind="stable")]
        if len(near):
            mine = int(queries["label"][i])
            scored = score_ranking(label[near], mine, classes=int(label.max()) + 1, ordered=False)
            scores.append(scored[MEASURES.index("ap_at_5")])
    return float(np.nanmean(scores)) if scores else 0.0


def _describe(
    names: tuple[str, ...],
    weights: tuple[float, ...],
    factors: np.ndarray,
    queries: Split,
    train: Split,
    *,
    on_gallery: bool,
) -> str:
    shown = ", ".join(
        f"{name} {weight:.3g} ({factor:g} of the mean distance of images)"
        for name, weight, factor in zip(names, weights, factors, strict=True)
    )
    missing = count_missing(train, names)
    lacking = ", ".join(f"{n} without {name}" for name, n in missing.items() if n)
    whence = "the gallery, each against the others" if on_gallery else "validation"
    return f"weights of metadata, chosen on {len(queries)} cases of {whence}: {shown}" + (
        f"; in the gallery {lacking}, whose distance is the mean one" if lacking else ""
    )


def ablate_metadata(
    gallery: Gallery, predictor: EmbeddingPredictor, task: Task, weights: Weights, split: Split
) -> dict[str, RetrievalPredictions]:
    """What queries find without metadata, and without each of several: rows to stand beside."""
    chosen = np.array(predictor.metadata_weights)
    if not chosen.any():
        return {}
    rows = {"without metadata": np.zeros_like(chosen)}
    for i, name in enumerate(predictor.metadata):
        if chosen[i] and np.count_nonzero(chosen) > 1:
            rows[f"without {name}"] = np.where(np.arange(len(chosen)) == i, 0.0, chosen)
    by_seed, known = _predict(gallery, task, weights, split, gallery.train)

    def rank(kept: np.ndarray) -> RetrievalPredictions:
        changed = dataclasses.replace(predictor, metadata_weights=tuple(map(float, kept)))
        ranked = rank_embeddings(
            changed, split, gallery.train, gallery.spec, by_seed, known, batch=gallery.batch
        )
        return predictor.output.tabulate(split, gallery.spec, ranked.ensemble)

    return {name: rank(kept) for name, kept in rows.items()}


def _predict(gallery: Gallery, task: Task, weights: Weights, *splits: Split) -> list[Predicted]:
    """The embeddings of splits, by seed."""
    compiled, batch = compile_predict(task.predict), gallery.batch
    return [predict_split(compiled, weights, s, columns=(), batch=batch) for s in splits]

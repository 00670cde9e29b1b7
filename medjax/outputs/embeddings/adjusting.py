"""What changes a ranking by embeddings: metadata, and a second look at a short list."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.ops.barcode import barcode
from medjax.ops.neighbours import hamming, pack_bits
from medjax.outputs.base import ModelSpec, Weights
from medjax.outputs.embeddings.metadata import MetadataDistance
from medjax.train.predict import compile_predict, predict_split

Adjust = Callable[[int, np.ndarray], np.ndarray]  # of a query, and its distances `[n]`


def leave_alone(query: int, distance: np.ndarray) -> np.ndarray:
    """Changes nothing."""
    return distance


def make_adjustment(
    predictor: Any, queries: Split, gallery: Split, spec: ModelSpec, *, batch: int
) -> Adjust:
    """What a predictor does to distances between queries and a gallery."""
    steps: list[Adjust] = []
    if any(predictor.metadata_weights):
        names, weights = predictor.metadata, predictor.metadata_weights
        steps.append(weigh_metadata(queries, gallery, names, weights))
    if predictor.shortlist:
        steps.append(look_again(queries, gallery, spec, size=predictor.shortlist, batch=batch))

    def adjust(query: int, distance: np.ndarray) -> np.ndarray:
        for step in steps:
            distance = step(query, distance)
        return distance

    return adjust


def prefer_classes(share: np.ndarray, gallery: Split, further: Adjust) -> Adjust:
    """Cases of the class that a query most likely has come first, then those of the next class.

    Anavi et al. 2016 compare the probabilities of a query with those of each case of the gallery;
    here a case of the gallery has the class that is known of it. Within a class distances decide.

    Args:
      share: the probabilities of the classes of each query, `[query, class]`.
      further: what else is done to distances.
    """
    order = np.argsort(np.argsort(-share, 1, kind="stable"), 1)  # the rank of each class
    label = gallery["label"]

    def adjust(query: int, distance: np.ndarray) -> np.ndarray:
        changed = further(query, distance)
        return changed + (np.ptp(changed) + 1.0) * order[query][label]

    return adjust


def weigh_metadata(
    queries: Split, gallery: Split, names: Sequence[str], weights: Sequence[float]
) -> Adjust:
    """Adds distances of metadata, each by its weight."""
    known = MetadataDistance(gallery, names)

    def adjust(query: int, distance: np.ndarray) -> np.ndarray:
        return distance + np.asarray(weights) @ known.measure(queries.metadata[query])

    return adjust


def look_again(queries: Split, gallery: Split, spec: ModelSpec, *, size: int, batch: int) -> Adjust:
    """Orders the `size` nearest cases anew, by their Radon barcodes (Liu et al. 2016).

    Their distance is then that of barcodes, and that of all others is higher. Cases of the subject
    of the query count nothing, and take no place.
    """
    asked, known = (_make_barcodes(split, spec, batch=batch) for split in (queries, gallery))
    most = 32 * known.shape[1] + 1
    subject = np.array(gallery.subject_id)
    measure = jax.jit(hamming)

    def adjust(query: int, distance: np.ndarray) -> np.ndarray:
        allowed = np.flatnonzero(subject != queries.subject_id[query])
        near = allowed[np.argsort(distance[allowed], kind="stable")[:size]]
        adjusted = distance + most
        adjusted[near] = np.asarray(measure(asked[query], known))[near]
        return adjusted

    return adjust


def _make_barcodes(split: Split, spec: ModelSpec, *, batch: int) -> np.ndarray:
    """The packed barcodes of all images, coloured ones as their mean: `[n, word]`."""

    def predict(params: Any, stats: Any, part: Any) -> dict[str, Any]:
        gray = spec.preprocessing.unit(part["image"]).mean(-1)
        return {"bits": jax.vmap(barcode)(gray) * params["one"]}

    weights: Weights = ({"one": jnp.ones((1, 1))}, {})
    answers = predict_split(compile_predict(predict), weights, split, columns=(), batch=batch)
    return np.asarray(jax.vmap(pack_bits)(answers["bits"][0]))

"""Embeddings: a descriptor of each image, by which the cases that look like it are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.metrics import Metric
from medjax.outputs import exam_images
from medjax.outputs.base import (
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairedAnswers,
    PairReader,
    Picture,
    Predicted,
    match_cases,
)
from medjax.outputs.embeddings import irma, metrics, plot, ranking, serve
from medjax.outputs.embeddings.metrics import MEASURES, RECALLS, K
from medjax.outputs.embeddings.predictions import RetrievalPredictions
from medjax.outputs.preparing import prepare_images
from medjax.typing import Json


def describe(info: DatasetInfo) -> Description:
    """What such a network does."""
    return Description("describes an exam image by a vector, to find those like it", ())


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> RetrievalPredictions:
    """Embeddings, and what they found where there is a gallery."""
    n, names = len(split), np.array(spec.info.classes, object)
    label = split.targets.get("label")
    empty = {
        "scores": np.full((n, len(MEASURES)), np.nan),
        "curve": np.full((n, len(RECALLS)), np.nan),
        "neighbour": np.full((n, K), "", object),
        "neighbour_label": np.full((n, K), "", object),
        "neighbour_row": np.full((n, K), -1),
        "distance": np.full((n, K), np.nan),
        "excluded": np.zeros(n, int),
        "embedding": np.zeros((n, 0)),
        "by_bits": np.zeros((n, 0)),
    }
    answers = {name: np.asarray(predicted.get(name, value)) for name, value in empty.items()}
    return RetrievalPredictions(
        case_id=list(split.case_id),
        subject_id=list(split.subject_id),
        label=np.full(n, "", object) if label is None else names[label],
        **answers,
    )


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[RetrievalPredictions, str]:
    """What an order of chance finds."""
    ranker = ranking.Ranker(split, train, spec, ranking.COSINE)
    return tabulate(split, spec, ranker.at_random()), "the training set in random order"


def declare_metrics(spec: ModelSpec, measures: Any = None) -> dict[str, Metric]:
    """The metrics, which are the same for all classes; without labels all are undefined."""
    return dict(metrics.METRICS)


def details(evaluation: Evaluation[RetrievalPredictions]) -> Json:
    """Each class by itself, and what was passed over."""
    answers, names = evaluation.ensemble, evaluation.spec.info.classes
    if not evaluation.spec.info.has_labels:
        return {"remarks": ["images have no labels, so that nothing tells which ones are alike"]}
    gallery = np.bincount(evaluation.train["label"], minlength=len(names))
    shown = ("precision_at_1", "ap_at_5", "map")
    rows = []
    for number, name in enumerate(names):
        scores = answers.scores[answers.label == name]
        means = [_mean(scores[:, MEASURES.index(measure)]) for measure in shown]
        rows.append(
            [name, str(len(scores)), str(gallery[number]), *(f"{value:.3f}" for value in means)]
        )
    table = {
        "title": "Queries of each class",
        "columns": ["class", "queries", "cases in the gallery", *shown],
        "rows": rows,
        "remarks": [],
    }
    return {
        "gallery": int(gallery.sum()),
        "tables": [table],
        "remarks": [*_remark(answers, gallery), *_score_codes(answers, names)],
    }


def _score_codes(answers: RetrievalPredictions, names: Sequence[str]) -> list[str]:
    """The error score of the nearest cases where classes are IRMA codes."""
    nearest = answers.neighbour_label[:, 0].tolist()
    if not irma.are_codes(names) or "" in nearest:
        return []
    score = irma.score_codes(answers.label.tolist(), nearest, names)
    return [
        f"IRMA error score of the nearest cases: {score:.2f}, summed over {len(nearest)} queries"
    ]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _remark(answers: RetrievalPredictions, gallery: np.ndarray) -> list[str]:
    """How many cases were passed over, and how many queries have nothing to find."""
    total, queries = int(answers.excluded.sum()), int((answers.excluded > 0).sum())
    nothing = int(np.isnan(answers.scores[:, MEASURES.index("map")]).sum())
    remarks = [f"the gallery is the training set, {int(gallery.sum())} cases"]
    if total:
        remarks.append(
            f"{total} cases of the gallery were passed over, being of the subject of a query "
            f"({queries} queries)"
        )
    if nothing:
        remarks.append(f"{nothing} queries have no case of their class to find, and are left out")
    return remarks


def draw(folder: Path, evaluation: Evaluation[RetrievalPredictions]) -> list[Picture]:
    """A map of the embeddings, precision by rank, and the queries that found least; without labels
    the map, and some queries."""
    plot.draw_map(folder / "map.png", evaluation)
    if not evaluation.spec.info.has_labels:
        text = "Embeddings in two dimensions (t-SNE)."
        return [Picture("map.png", text), *plot.draw_worst(folder, evaluation)]
    plot.draw_ranks(folder / "neighbours.png", evaluation)
    bits = []
    if evaluation.ensemble.by_bits.shape[1]:
        plot.draw_bits(folder / "bits.png", evaluation)
        bits = [Picture("bits.png", "Average precision by the first bits of the codes alone.")]
    return [
        Picture("neighbours.png", "Share of the nearest cases that have the class of the query."),
        Picture("map.png", "Embeddings in two dimensions (t-SNE), coloured by class."),
        *bits,
        *plot.draw_worst(folder, evaluation),
    ]


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has queries."""
    return "query_class" in header


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """Two `predictions.csv`, the second in the order of the first; raises UserError unless both
    hold the same queries with the same classes."""
    a, b = RetrievalPredictions.read(first), RetrievalPredictions.read(other)
    rows = match_cases(a, b)
    if (a.label != b.label[rows]).any():
        raise UserError("the classes of some cases differ; these are not the same data")
    return PairedAnswers(a.label, a.scores, b.scores[rows], a.subject_id, dict(metrics.METRICS))


EMBEDDINGS: Output[RetrievalPredictions] = Output(
    columns=("label",),
    describe=describe,
    prepare=prepare_images(exam_images.prepare, from_array=exam_images.from_array),
    tabulate=tabulate,
    ensemble=lambda predicted, spec: ranking.join_seeds(predicted),
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    compare=PairReader(recognises, read_pair),
    infer=ranking.infer,
)

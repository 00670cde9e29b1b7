"""What embeddings are to be better than, in one table: chance, pixels, an untrained network."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import report as reports
from medjax.evaluation.stats import Estimate
from medjax.outputs.base import Evaluation, ModelSpec, Weights
from medjax.outputs.embeddings.predictions import RetrievalPredictions
from medjax.tasks.embedding.predictor import COMPONENTS, PIXELS, EmbeddingPredictor
from medjax.tasks.embedding.task import fit_components
from medjax.train.predict import compile_predict, predict_split
from medjax.train.task import Task
from medjax.typing import Json, JsonView

COUNT = 64  # principal components that stand beside
_SAME = 2e-4  # cosine distance of the pixels of images that are the same but for their storing
_MOST_ROWS = 5000  # of the gallery, that components are fitted on


class Gallery(NamedTuple):
    """Where queries look, and how.

    Attributes:
      predictor: whose form images have; spec: of it.
      train: the gallery; batch: so many images at a time.
    """

    predictor: EmbeddingPredictor
    spec: ModelSpec
    train: Split
    batch: int


def answer_queries(
    gallery: Gallery, predictor: EmbeddingPredictor, task: Task, weights: Weights, split: Split
) -> RetrievalPredictions:
    """What the queries of a split find, by a task with these weights of one seed."""
    spec, compiled = dataclasses.replace(gallery.spec, seeds=1), compile_predict(task.predict)
    output = predictor.output
    inferred = output.infer(
        predictor,
        compiled,
        weights,
        split,
        spec,
        columns=(),
        batch=gallery.batch,
        gallery=gallery.train,
    )
    return output.tabulate(split, spec, inferred.ensemble)


def describe_gallery(gallery: Gallery, task: Task, weights: Weights) -> np.ndarray:
    """Its embeddings, `[seed, n, feature]`."""
    compiled, batch = compile_predict(task.predict), gallery.batch
    return predict_split(compiled, weights, gallery.train, columns=(), batch=batch)["embedding"]


def init_weights(task: Task, *, seed: int) -> Weights:
    """Those that a training begins with, of one seed."""
    return jax.tree.map(lambda x: x[None], jax.jit(task.init)(jax.random.key(seed)))


def fit_linear(
    gallery: Gallery, *, answers: str, size: int = COUNT
) -> tuple[EmbeddingPredictor, Task, Weights]:
    """Pixels, or their components of the gallery alone, as a predictor with its weights.

    Args:
      answers: `pixels` or `pca`; size: the number of components, at most.
    """
    spec, train = gallery.spec, gallery.train
    predictor = dataclasses.replace(gallery.predictor, answers=PIXELS, distance="cosine")
    task = predictor.make_task(spec)
    pixels = init_weights(task, seed=0)
    if answers == PIXELS:
        return predictor, task, pixels
    rows = train.only(np.random.default_rng(0).permutation(len(train))[:_MOST_ROWS])
    table = describe_gallery(gallery._replace(train=rows), task, pixels)
    params = fit_components(table[0], size=size)
    size = params["components"].shape[1]
    predictor = dataclasses.replace(predictor, answers=COMPONENTS, size=size)
    fitted = jax.tree.map(lambda x: x[None], params)
    return predictor, predictor.make_task(spec), (fitted, {})


def compare_rivals(
    gallery: Gallery,
    evaluation: Evaluation[RetrievalPredictions],
    others: Mapping[str, RetrievalPredictions],
) -> Json:
    """`beside`: the metrics of what was trained and of all others; `compared`: paired tests by the
    first metric.

    Args:
      others: beside random order, pixels and components.
    """
    answers, metrics, samples = evaluation.ensemble, evaluation.metrics, evaluation.samples
    first = next(iter(metrics))
    linear = {
        name: answer_queries(gallery, *fit_linear(gallery, answers=name), evaluation.split)
        for name in (PIXELS, COMPONENTS)
    }
    rows = {"this run": answers, **others, "random": evaluation.baseline, **linear}
    compared = {
        who: answers.compare(row, metrics[first], samples=samples)
        for who, row in rows.items()
        if row is not answers
    }
    return {
        "remarks": note_duplicates(linear[PIXELS]),
        "beside": {who: row.estimates(metrics, samples=samples) for who, row in rows.items()},
        "compared_with": "this run",
        "compared": reports.corrected(
            {who: {"difference": c.difference, "p_value": c.p_value} for who, c in compared.items()}
        ),
    }


def note_duplicates(pixels: RetrievalPredictions) -> list[str]:
    """How many queries are all but equal to a case of the gallery that is of another subject.

    Pixels tell: whole barcodes are shared by images that are not alike at all, at 28 pixels a side
    by a quarter of the test split of PneumoniaMNIST.

    Args:
      pixels: what queries find by their pixels, and the cosine.
    """
    rows = np.flatnonzero(pixels.distance[:, 0] <= _SAME)
    if not len(rows):
        return []
    first = f"{pixels.case_id[rows[0]]} is {pixels.neighbour[rows[0], 0]}"
    return [
        f"{len(rows)} queries are all but equal to a case of the gallery of another subject, by "
        f"their pixels: {first}"
    ]


def show_rivals(result: JsonView) -> None:
    """Prints the table, where there is one."""
    if "beside" not in result:
        return
    estimates: Mapping[str, Mapping[str, Estimate]] = result["beside"]
    columns = ["ap_at_5", "ap_at_5_published", "precision_at_1", "map"]
    rows: list[list[Any]] = [
        [who, *(reports.with_interval(row[c]) for c in columns)] for who, row in estimates.items()
    ]
    notes = [
        f"{who} minus this run: {reports.with_interval(c['difference'])} in {columns[0]}, "
        f"p = {c['p_value']:.4f}, by Holm's correction {c['p_holm']:.4f}"
        for who, c in result["compared"].items()
    ]
    reports.show("beside each other", ["", *columns], rows, notes)

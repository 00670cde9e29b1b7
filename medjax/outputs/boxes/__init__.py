"""Boxes: where things of which class are."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.config import option
from medjax.data.builders.boxes import moved
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.metrics import Metric
from medjax.evaluation.predictions import conformal_bound
from medjax.ops import boxes as box_ops
from medjax.outputs.base import (
    WORST_CASES,
    Description,
    Evaluation,
    ModelSpec,
    Output,
    PairedAnswers,
    PairReader,
    Picture,
    Predicted,
    match_cases,
    read_number,
)
from medjax.outputs.boxes import metrics, plot, report, serve
from medjax.outputs.boxes.report import BoxPredictions
from medjax.outputs.preparing import prepare_images
from medjax.typing import Array, Json

_ONE_THING = 0.5  # intersection over union of boxes of two seeds, from which on they are one


@dataclasses.dataclass(frozen=True)
class BoxMeasures:
    """What counts as a box."""

    score: float = option(0.3, "boxes of a higher score are counted", least=0, answers=True)


def describe(info: DatasetInfo) -> Description:
    """What detects things."""
    return Description("detects things in boxes", info.box_classes)


def tabulate(split: Split, spec: ModelSpec, predicted: Predicted) -> BoxPredictions:
    """Boxes in voxels of the prepared images as boxes in pixels of the files."""
    return report.tabulate(split, spec.info.box_classes, predicted)


def ensemble(predicted: Predicted, spec: ModelSpec) -> Predicted:
    """The boxes of all seeds `[seed, n, most, ...]`: each scored by the mean over the seeds of the
    box of its class that is most the same, of which the highest stays. Two boxes of one seed are
    two things, as its own suppression has left both."""
    boxes, scores, labels = predicted["boxes"], predicted["scores"], predicted["labels"]
    if len(boxes) == 1:
        return {"boxes": boxes[0], "scores": scores[0], "labels": labels[0]}
    by_case = (jnp.moveaxis(jnp.asarray(x), 0, 1) for x in (boxes, scores, labels))
    merged = _merge_each(*by_case)
    return dict(zip(("boxes", "scores", "labels"), merged, strict=True))


@jax.jit
def _merge_each(boxes: Array, scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Of one image after the other: the overlaps of all boxes of one take memory enough."""
    return jax.lax.map(lambda case: _merge(*case), (boxes, scores, labels))


def _merge(boxes: Array, scores: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Of one image, `[seed, most, ...]` to `[most, ...]`."""
    seeds, most = scores.shape
    flat = boxes.reshape(seeds * most, -1)
    known, kind = jnp.nan_to_num(scores, nan=0.0), labels.reshape(-1)
    overlap = box_ops.iou(flat, flat).reshape(-1, seeds, most)
    is_box = kind[:, None, None] == labels[None]
    overlap = jnp.where(is_box & ~jnp.isnan(scores)[None], overlap, 0.0)
    nearest = overlap.argmax(-1)  # of each seed, `[box, seed]`
    score = known[jnp.arange(seeds), nearest]
    mean = jnp.where(overlap.max(-1) > _ONE_THING, score, 0.0).mean(-1)
    mean = jnp.where(jnp.isnan(scores).reshape(-1), jnp.nan, mean)
    owners = jnp.repeat(jnp.arange(seeds), most)
    stays = box_ops.suppress(flat, mean, kind, threshold=_ONE_THING, owners=owners)
    order = jnp.argsort(-jnp.where(stays, mean, -1.0))[:most]
    return flat[order], jnp.where(stays, mean, jnp.nan)[order], kind[order]


def baseline(train: Split, split: Split, spec: ModelSpec) -> tuple[BoxPredictions, str]:
    """The boxes of the training image that has the median number of them."""
    counts = (train["box_label"] >= 0).sum(1)
    i = int(np.argsort(counts, kind="stable")[len(counts) // 2])
    there = train["box_label"][i] >= 0
    boxes = {
        "boxes": train["boxes"][i][there],
        "scores": np.ones(there.sum()),
        "labels": train["box_label"][i][there],
    }
    guess = {name: np.repeat(value[None], len(split), 0) for name, value in boxes.items()}
    text = "the boxes of the training image that has the median number of them"
    return tabulate(split, spec, guess), text


def declare_metrics(spec: ModelSpec, measures: BoxMeasures) -> dict[str, Metric]:
    """Average precision, sensitivity, and the error of the number of boxes."""
    return metrics.declared(score=measures.score, classes=spec.info.box_classes)


def details(evaluation: Evaluation[BoxPredictions]) -> Json:
    """How many boxes there are, the sensitivity at each rate of false positives and by size, and
    how far counts are off."""
    predictions, score = evaluation.ensemble, evaluation.measures.score
    counts, boxes = predictions.table
    weight = np.ones((1, len(counts)))
    rates = [f"sensitivity_at_{rate:g}" for rate in metrics.FROC_RATES]
    rows = {}
    for c, name in enumerate(predictions.names):
        curve = metrics.froc_curve(counts[:, c], boxes[:, c], weight)[0]
        rows[name] = {
            "in_reference": int(counts[:, c].sum()),
            "predicted": int(predictions.counts_above(score)[:, c].sum()),
            **dict(zip(rates, curve.tolist(), strict=True)),
            **_by_size(*predictions.sizes_and_hits(c, score=score)),
            **_conformal_count(evaluation, c),
        }
    return {"boxes": rows, "least_score": score}


def _by_size(sizes: np.ndarray, hits: np.ndarray) -> dict[str, float]:
    """The share of boxes that are found, of the smallest third, the next and the largest."""
    thirds = np.array_split(hits[np.argsort(sizes, kind="stable")], 3)
    names = ("smallest", "middle", "largest")
    return {
        f"sensitivity_{name}_third": float(third.mean()) if len(third) else np.nan
        for name, third in zip(names, thirds, strict=True)
    }


def _conformal_count(evaluation: Evaluation[BoxPredictions], label: int) -> dict[str, float]:
    """How far the count of a class is off in at most 10 % of further subjects."""
    score = evaluation.measures.score

    def error(table: BoxPredictions) -> np.ndarray:
        return np.abs(table.counts_above(score)[:, label] - table.counts[:, label])

    bound = conformal_bound(error, evaluation.tuned, evaluation.ensemble)
    return {"conformal_count": bound.radius, "coverage": bound.coverage}


def draw(folder: Path, evaluation: Evaluation[BoxPredictions]) -> list[Picture]:
    """Curves, and the worst cases."""
    predictions = evaluation.ensemble
    plot.curves(folder / "boxes.png", predictions)
    text = "Precision over recall, and sensitivity over false positives a case, of each class."
    wrong = _count_wrong(predictions, evaluation.measures.score)
    worst = np.argsort(-wrong.sum(1), kind="stable")[:WORST_CASES]
    cases = [
        _draw_case(folder, f"worst_{number}.png", int(i), wrong[i], evaluation)
        for number, i in enumerate(worst, start=1)
    ]
    return [Picture("boxes.png", text), *cases]


def _count_wrong(predictions: BoxPredictions, score: float) -> np.ndarray:
    """Boxes of each case that were missed, and those that are none: `[n, 2]`."""
    counts, boxes = predictions.table
    shown = np.nan_to_num(boxes[..., 0], nan=-1.0) >= score
    hits = (shown & (boxes[..., 1] > 0)).sum((1, 2))
    return np.stack([counts.sum(1) - hits, shown.sum((1, 2)) - hits], 1)


def _draw_case(
    folder: Path, name: str, i: int, wrong: np.ndarray, evaluation: Evaluation[BoxPredictions]
) -> Picture:
    predictions, split = evaluation.ensemble, evaluation.split
    image, back = split.read(i), np.linalg.inv(split["to_file"][i])
    shown = predictions.scores[i] >= evaluation.measures.score
    plot.over(
        folder / name,
        image,
        predictions.names,
        moved(predictions.boxes_px[i][shown] - 0.5, back),
        predictions.labels[i][shown],
        title=predictions.case_id[i],
        true=moved(predictions.true_px[i] - 0.5, back),
    )
    text = (
        f"{wrong[0]} of {len(predictions.true_px[i])} boxes missed, {wrong[1]} that are none, at a "
        f"score of {evaluation.measures.score:g}"
    )
    rows = [
        max(1, len(t) + len(s))
        for t, s in zip(predictions.true_px, predictions.scores, strict=True)
    ]
    return Picture(name, text, True, predictions.case_id[i], 2 + sum(rows[:i]))


def recognises(header: Sequence[str]) -> bool:
    """Whether a table has boxes."""
    return {"what", "xmin", "score"} <= set(header)


def read_pair(first: Path, other: Path, settings: Any) -> PairedAnswers:
    """The boxes of two `predictions.csv`, the second in the order of the first.

    Raises:
      UserError: unless both are of the same cases with the same reference.
    """
    a, b = BoxPredictions.read(first), BoxPredictions.read(other)
    rows = match_cases(a, b)
    names = tuple(sorted({*a.names, *b.names}))
    a, b = _with_names(a, names), _with_names(b, names)
    if not np.array_equal(a.counts, b.counts[rows]):
        raise UserError("the reference boxes of some cases differ; these are not the same data")
    tables = [a.matched(), b.matched()[rows]]
    most = max(t.shape[2] for t in tables)
    wide = [
        np.pad(t, ((0, 0), (0, 0), (0, most - t.shape[2]), (0, 0)), constant_values=np.nan)
        for t in tables
    ]
    score, other_score = (_counted_from(p.with_name("report.json")) for p in (first, other))
    if score != other_score:
        raise UserError(
            f"boxes count from a score of {score:g} in one report and {other_score:g} in the other;"
            " run one again with `eval_only` and the same `score`"
        )
    declared = metrics.declared(score=score, classes=names)
    return PairedAnswers(a.counts, wide[0], wide[1], a.subject_id, declared)


def _counted_from(path: Path) -> float:
    """The score from which the report counts boxes; the usual one where there is no report."""
    try:
        score = read_number(json.loads(path.read_text()), "least_score")
    except (OSError, ValueError):
        score = None
    return BoxMeasures().score if score is None else score


def _with_names(predictions: BoxPredictions, names: tuple[str, ...]) -> BoxPredictions:
    """The same with classes numbered by these names."""
    number = np.array([names.index(n) for n in predictions.names], int)
    return dataclasses.replace(
        predictions,
        names=names,
        labels=[number[x] for x in predictions.labels],
        reference_labels=[number[x] for x in predictions.reference_labels],
    )


BOXES: Output[BoxPredictions] = Output(
    columns=("boxes", "box_label"),
    describe=describe,
    prepare=prepare_images(serve.prepare, with_channels=True),
    tabulate=tabulate,
    ensemble=ensemble,
    baseline=baseline,
    metrics=declare_metrics,
    details=details,
    draw=draw,
    answer=serve.answers_of,
    decide=serve.decide,
    compare=PairReader(recognises, read_pair),
)

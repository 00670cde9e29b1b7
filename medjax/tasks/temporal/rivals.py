"""What a temporal network is to be better than, in one table."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import report as reports
from medjax.evaluation.stats import Estimate
from medjax.ops import sequence
from medjax.outputs.base import Evaluation
from medjax.outputs.frames import report
from medjax.outputs.frames.report import SequencePredictions
from medjax.typing import Json, JsonView

WIDTHS = (1, 3, 5, 7, 9)  # frames of a moving average, of which validation chooses


def average_frames(
    predictions: SequencePredictions, split: Split, *, width: int
) -> SequencePredictions:
    """The same, its scores averaged over so many frames."""
    score = jax.vmap(
        lambda x, n: sequence.moving_average(x, n, width=width, cyclic=predictions.cyclic)
    )(jnp.nan_to_num(predictions.score), jnp.asarray(split["length"]))
    return report.with_scores(predictions, np.asarray(score, float))


def best_average(
    tuned: SequencePredictions,
    validation: Split,
    predictions: SequencePredictions,
    split: Split,
    *,
    metric: Any,
    higher: bool,
) -> dict[str, SequencePredictions]:
    """The network without recurrence, and its scores averaged over as many frames as suits
    validation best.

    Args:
      tuned: its predictions on `validation`; predictions: those on `split`.
    """
    sign = 1 if higher else -1
    tried = {
        w: sign * average_frames(tuned, validation, width=w).values({"score": metric})["score"]
        for w in WIDTHS
    }
    width = max(tried, key=lambda w: tried[w])
    return {
        f"per frame, mean of {w}" if w > 1 else "per frame": average_frames(
            predictions, split, width=w
        )
        for w in sorted({1, width})
    }


def compare_rivals(
    evaluation: Evaluation[SequencePredictions],
    others: Mapping[str, SequencePredictions],
    *,
    score: str,
) -> Json:
    """`beside`: the metrics of the network and of all others; `compared`: paired tests by `score`.

    Beside `others` stand the mean place in training, curves of brightness where the frames are ED
    and ES, and one answer a subject where subjects have several sequences.
    """
    network, split, metrics = evaluation.ensemble, evaluation.split, evaluation.metrics
    # Curves have no threshold from which a frame would count as of a plane.
    are_heart = evaluation.spec.info.frames == ("ED", "ES") and network.task == "frames"
    bright = report.by_brightness(split) if are_heart else {}
    rows = {
        "network": network,
        **others,
        **{who: report.with_scores(network, curve) for who, curve in bright.items()},
        "mean place in train": evaluation.baseline,
    }
    if len(set(split.subject_id)) < len(split):
        rows["network, mean over a subject"] = report.pooled(network)
    # Nor has the mean place, so that planes are compared by their order.
    judge = "average_precision" if network.task == "planes" else score
    compared = {
        who: network.compare(row, metrics[judge], samples=evaluation.samples)
        for who, row in rows.items()
        if row is not network
    }
    return {
        "beside": {
            who: row.estimates(metrics, samples=evaluation.samples) for who, row in rows.items()
        },
        "compared_with": "network",
        "compared_by": judge,
        "compared": reports.corrected(
            {who: {"difference": c.difference, "p_value": c.p_value} for who, c in compared.items()}
        ),
    }


def show_rivals(result: JsonView) -> None:
    """Prints the table of the network and of what it is to be better than."""
    estimates: Mapping[str, Mapping[str, Estimate]] = result["beside"]
    score = result["compared_by"]
    shown = ("f1", "average_precision", "hit_rate")
    columns = [m for m in result["metrics"] if m.endswith("afd_cyclic") or m in shown]
    reports.show(
        "beside each other",
        ["", *columns],
        [
            [who, *(reports.with_interval(row[c]) for c in columns)]
            for who, row in estimates.items()
        ],
        [
            f"{who} minus the network: {reports.with_interval(c['difference'])} in {score}, "
            f"p = {c['p_value']:.4f}, by Holm's correction {c['p_holm']:.4f}"
            for who, c in result["compared"].items()
        ],
    )

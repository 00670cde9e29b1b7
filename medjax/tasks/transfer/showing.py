"""Arms as tables and as a figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax import weights
from medjax.evaluation import plot, report
from medjax.evaluation.intervals import Estimate
from medjax.evaluation.metrics import Metric
from medjax.files import write_bytes
from medjax.outputs.base import Picture
from medjax.outputs.labels.metrics import is_higher_better
from medjax.tasks.transfer.comparing import ALL, Arm, compare_arms, conclude, estimate
from medjax.typing import Json

FIGURE = "training_size.png"
_NAMES = {"auc": "AUC", "mae": "mean absolute error", "r2": "R²"}


class Summary(NamedTuple):
    """All arms, compared.

    Attributes:
      estimates: the metrics of each arm; shown: those that tables and figures have.
      compared: as of `comparing.compare_arms`; verdict: what they say, in a sentence.
      of_class: sizes count images of each class, or all of them.
    """

    arms: Sequence[Arm]
    estimates: Sequence[Mapping[str, Estimate]]
    shown: Sequence[str]
    compared: Sequence[Json]
    verdict: str
    of_class: bool = True


def summarise(
    arms: Sequence[Arm],
    declared: Mapping[str, Metric],
    *,
    metric: str,
    samples: int,
    of_class: bool = True,
) -> Summary:
    """Compares all arms, by `metric`, and balanced accuracy or R2 where there is that, the first
    being what the others are held against.

    Args:
      declared: all metrics; samples: exchanges of a paired test; of_class: as of `Summary`.
    """
    shown = [n for n in dict.fromkeys((metric, "balanced_accuracy", "r2")) if n in declared]
    compared = compare_arms(arms, {name: declared[name] for name in shown}, samples=samples)
    return Summary(
        arms,
        [estimate(arm, declared, samples=samples) for arm in arms],
        shown,
        compared,
        conclude(
            compared,
            metric=metric,
            against=arms[0].name,
            higher=is_higher_better(metric),
        ),
        of_class,
    )


def describe(summary: Summary, best: Arm) -> Json:
    """What the report has beside what all have; `best` is the arm that its other numbers are of."""
    return {
        "best_arm": {"arm": best.name, "size": best.size},
        "arms": [
            {
                "arm": arm.name,
                "size": arm.size,
                "metrics": dict(values),
                "seconds": arm.seconds,
                "examples": arm.examples,
            }
            for arm, values in zip(summary.arms, summary.estimates, strict=True)
        ],
        "compared": list(summary.compared),
        "tables": [tabulate_arms(summary), tabulate_pairs(summary.compared)],
        "remarks": [
            summary.verdict,
            f"the metrics above are of {best.name} at {best.size}, best on validation",
            "checkpoints are chosen on the whole validation split, whatever the size",
        ],
    }


def copy_best(workdir: Path, best: Arm) -> None:
    """The weights of an arm, and how it was trained, into the folder that all arms lie in."""
    folder = workdir / f"{best.name}_{best.size}"
    write_bytes(workdir / weights.NAME, (folder / weights.NAME).read_bytes())
    lines = folder / "metrics.jsonl"  # a frozen network has none
    write_bytes(workdir / lines.name, lines.read_bytes() if lines.exists() else b"")


def tabulate_arms(summary: Summary) -> Json:
    """A row for each arm and size: metrics, mean of seeds, and what it has cost."""
    rows = [
        [
            arm.size if arm.size == ALL or not summary.of_class else f"{arm.size} a class",
            arm.name,
            *(report.with_interval(values[name]) for name in summary.shown),
            f"{arm.examples:,}",
            f"{arm.seconds:,.0f}",
        ]
        for arm, values in zip(summary.arms, summary.estimates, strict=True)
    ]
    columns = ["training images", "arm", *summary.shown, "examples", "seconds"]
    return {
        "title": "Arms",
        "columns": columns,
        "rows": rows,
        "remarks": [
            "Metrics are means over seeds, each trained on its own draw of a size, with 95 % "
            "intervals over subjects; examples: images that went through the network in training, "
            "all seeds."
        ],
    }


def tabulate_pairs(compared: Sequence[Json]) -> Json:
    """A row for each pair of arms of one size, by each metric."""
    rows = [
        [
            row["size"],
            f"{row['b']} - {row['a']}",
            row["metric"],
            _signed(row["difference"]),
            f"{row['p_value']:.4f}",
            f"{row['p_holm']:.4f}",
        ]
        for row in compared
    ]
    columns = ["size", "arms", "metric", "difference [95 % interval]", "p", "p (Holm)"]
    return {"title": "Pairs of arms", "columns": columns, "rows": rows, "remarks": []}


def _signed(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return f"{estimate.value:+.4f}"
    return f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"


def show(summary: Summary) -> None:
    """Prints the tables."""
    for table in (tabulate_arms(summary), tabulate_pairs(summary.compared)):
        report.show(table["title"].lower(), table["columns"], table["rows"], table["remarks"])


def draw_sizes(folder: Path, summary: Summary, *, of_all: float) -> list[Picture]:
    """Metrics against the number of training images of a class, with their intervals.

    Args:
      of_all: training images of a class in the whole set, in the mean.
    """
    names, shown = list(dict.fromkeys(arm.name for arm in summary.arms)), summary.shown

    def draw_metric(axes: Any, metric: str) -> None:
        for number, name in enumerate(names):
            points = [
                (of_all if arm.size == ALL else float(arm.size), values[metric])
                for arm, values in zip(summary.arms, summary.estimates, strict=True)
                if arm.name == name
            ]
            points.sort(key=lambda p: p[0])
            x = np.array([p[0] for p in points]) * 1.04 ** (number - (len(names) - 1) / 2)
            value, low, high = np.array([p[1][:3] for p in points]).T
            colour = f"C{number}"
            axes.plot(x, value, "o-", ms=3.5, lw=1.4, color=colour, label=name.replace("_", " "))
            axes.vlines(x, low, high, color=colour, lw=1.2, alpha=0.6)
        axes.set_xscale("log")
        sizes = dict.fromkeys(arm.size for arm in summary.arms)
        places = {of_all if size == ALL else float(size): size for size in sizes}
        plot.named_numbers(axes.xaxis, places)
        axes.set(
            xlabel="training images" + " of a class" * summary.of_class,
            ylabel=_NAMES.get(metric, metric.replace("_", " ")),
        )

    def draw(figure: Any, axes: Any) -> None:
        for place, metric in zip(axes[0], shown, strict=True):
            draw_metric(place, metric)
        axes[0][0].legend(loc="lower right")

    plot.new_figure(folder / FIGURE, 1, len(shown), (3.6 * len(shown), 3.1), draw)
    text = "Each arm against the number of training images; lines are 95 % intervals over subjects."
    return [Picture(FIGURE, text)]

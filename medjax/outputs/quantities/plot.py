"""The pictures of quantities."""

from pathlib import Path
from typing import Any

import numpy as np

from medjax.evaluation.plot import flat, new_figure, short
from medjax.evaluation.predictions import LEVEL
from medjax.outputs.quantities.conformal import LEVELS, find_bound
from medjax.outputs.quantities.predictions import QuantityPredictions

_SHOWN = 6  # quantities of a figure, the first


def draw_agreement(
    path: Path, predictions: QuantityPredictions, tuned: QuantityPredictions
) -> None:
    """Answer against reference, a panel a quantity, with the intervals that validation gives."""
    count = min(len(predictions.names), _SHOWN)

    def draw_one(axes: Any, place: int) -> None:
        truth, answer = predictions.reference[:, place], predictions.answer[:, place]
        known = np.isfinite(truth)
        if not known.any():
            return
        low, high = min(truth[known].min(), answer.min()), max(truth[known].max(), answer.max())
        ends = np.array([low, high]) + np.array([-0.04, 0.04]) * max(high - low, 1e-9)
        radius = find_bound(tuned, predictions, place).radius
        if np.isfinite(radius):
            text = f"{LEVEL:.0%} interval"
            axes.fill_between(ends, ends - radius, ends + radius, color="0.92", lw=0, label=text)
            axes.legend(loc="upper left")
        axes.plot(ends, ends, color="0.6", ls=":", lw=1)
        axes.plot(truth[known], answer[known], "o", ms=3, alpha=0.5, mew=0, color="C0")
        name = short(predictions.names[place], most=24)
        axes.set(xlim=ends, ylim=ends, xlabel=name, ylabel=f"{name}, predicted", aspect="equal")

    def draw(figure: Any, axes: Any) -> None:
        for place in range(count):
            draw_one(axes[0][place], place)

    new_figure(path, 1, count, (3.6 * count, 3.5), draw)


def draw_coverage(path: Path, predictions: QuantityPredictions, tuned: QuantityPredictions) -> None:
    """The share of quantities that intervals hold, against the share that they are to hold."""

    def draw(figure: Any, axes: Any) -> None:
        ax = axes[0][0]
        ax.plot([0, 1], [0, 1], color="0.6", ls=":", lw=1)
        for place, name in enumerate(predictions.names[:_SHOWN]):
            bounds = [find_bound(tuned, predictions, place, level=level) for level in LEVELS]
            held = [b.coverage if np.isfinite(b.radius) else np.nan for b in bounds]
            ax.plot(LEVELS, held, "o-", ms=3.5, lw=1.4, label=short(name, most=24))
        ax.set(
            xlim=(0, 1), ylim=(0, 1), xlabel="share to hold", ylabel="share held", aspect="equal"
        )
        ax.legend(loc="upper left")

    new_figure(path, 1, 1, (3.6, 3.5), draw)


def draw_answer(path: Path, image: np.ndarray, rows: dict[str, str], *, title: str) -> None:
    """An image `[*space, channel]`, and a line for each quantity."""

    def draw(figure: Any, axes: Any) -> None:
        ax, picture = axes[0][0], flat(image)
        ax.imshow(picture, cmap="gray" if picture.ndim == 2 else None)
        lines = [short(title), *(f"{short(name, most=24)}: {text}" for name, text in rows.items())]
        ax.set_title("\n".join(lines), fontsize=8, loc="left")
        ax.axis("off")

    new_figure(path, 1, 1, (3.4, 3.2 + 0.16 * len(rows)), draw)

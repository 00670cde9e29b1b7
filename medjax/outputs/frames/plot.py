"""Pictures of sequences: scores over time, and chosen beside true frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation.plot import flat, new_figure, short
from medjax.evaluation.stats import nan_mean
from medjax.outputs.base import Picture
from medjax.outputs.frames.report import SequencePredictions


def _error(predictions: SequencePredictions) -> np.ndarray:
    """Frames off the short way round, the mean over names: `[n]`."""
    return nan_mean(np.abs(predictions.off_cyclic), axis=1)


def _shown(predictions: SequencePredictions, most: int) -> np.ndarray:
    """Sequences from the best to the worst, evenly spread."""
    order = np.argsort(np.nan_to_num(_error(predictions), nan=np.inf), kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, most).astype(int))]


def curves(path: Path, predictions: SequencePredictions, *, curve: bool, most: int = 6) -> None:
    """The scores of some sequences, from the best to the worst, with the true frames as lines.

    Args:
      curve: show only the first name's score: the others follow from it.
    """
    chosen, error, length, best = (
        _shown(predictions, most),
        _error(predictions),
        predictions.length,
        predictions.chosen,
    )
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)

    def draw(figure, axes):
        for ax in axes.flat[len(chosen) :]:
            ax.axis("off")
        for ax, i in zip(axes.flat, chosen, strict=False):
            frames = np.arange(length[i])
            score = predictions.score[i, : len(frames)]
            if curve:
                ax.plot(frames, score[:, 0], ".-", color="0.3", lw=1.2)
            for j, name in enumerate(predictions.names):
                colour = f"C{j}"
                if not curve:
                    ax.plot(frames, score[:, j], color=colour, lw=1.2)
                for k, true in enumerate(np.flatnonzero(predictions.marks[i, :, j] > 0)):
                    ax.axvline(
                        true, color=colour, ls=":", lw=1.4, label=f"{name}, true" if not k else None
                    )
                at = best[i, j]
                ax.plot(
                    at,
                    score[at, 0 if curve else j],
                    "v",
                    color=colour,
                    ms=6,
                    label=f"{name}, found",
                )
            ax.set_title(f"{short(predictions.case_id[i])}: {error[i]:.1f} frames off", fontsize=8)
            ax.set(xlabel="frame")
        axes[0, 0].set(ylabel="predicted volume" if curve else "score")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)

    new_figure(path, rows, columns, (3.0 * columns, 2.1 * rows + 0.5), draw)


def thumbnails(
    path: Path, predictions: SequencePredictions, split: Split, *, most: int = 6
) -> None:
    """For some sequences, from the best to the worst, each name's true and found frame."""
    chosen, names = _shown(predictions, most), predictions.names
    found_at, found_off = predictions.chosen, predictions.off

    def draw(figure, axes):
        for ax in axes.flat:
            ax.axis("off")
        for row, i in zip(axes, chosen, strict=True):
            frames = split.read(int(i))
            for j, name in enumerate(names):
                at, off = int(found_at[i, j]), found_off[i, j]
                shown = [
                    (None, "no such frame")
                    if np.isnan(off)
                    else (int(at - off), f"{name}: true, {at - off:.0f}"),
                    (at, f"found, {at}"),
                ]
                for ax, (frame, title) in zip(row[2 * j : 2 * j + 2], shown, strict=True):
                    ax.set_title(title, fontsize=7)
                    if frame is not None:
                        image = flat(frames[frame])
                        ax.imshow(image, cmap="gray" if image.ndim == 2 else None)
            row[0].text(
                -0.08,
                0.5,
                predictions.case_id[i],
                rotation=90,
                ha="right",
                va="center",
                fontsize=6,
                transform=row[0].transAxes,
            )

    new_figure(
        path, len(chosen), 2 * len(names), (2.2 * len(names) + 0.3, 1.25 * len(chosen)), draw
    )


def draw_worst(
    folder: Path, predictions: SequencePredictions, split: Split, *, most: int
) -> list[Picture]:
    """A picture a sequence, those that lie farthest off first."""
    error, cases = _error(predictions), []
    order = np.argsort(-np.nan_to_num(error, nan=-1.0), kind="stable")
    for number, i in enumerate(order[:most], start=1):
        name, length = f"worst_{number}.png", int(predictions.length[i])
        plot_scores(
            folder / name,
            split.read(int(i)),
            predictions.names,
            predictions.chosen[i],
            predictions.score[i, :length],
            title=predictions.case_id[i],
        )
        text = f"{error[i]:.1f} frames off in the mean, of {length}"
        line = int(i) * len(predictions.names) + 2
        cases.append(Picture(name, text, True, predictions.case_id[i], line, wide=True))
    return cases


def plot_scores(
    path: Path,
    frames: np.ndarray,
    names: Sequence[str],
    chosen: np.ndarray,
    score: np.ndarray,
    *,
    title: str,
) -> None:
    """The scores `[time, name]` over a sequence, and below them the frames that were chosen."""

    def draw(figure, axes):
        for ax in axes.flat[1:]:
            ax.axis("off")
        curve = axes[0, 0]
        for j, (name, at) in enumerate(zip(names, chosen, strict=True)):
            curve.plot(score[:, j], ".-", color=f"C{j}", lw=1.2, ms=3, label=name)
            curve.plot(at, score[at, j], "v", color=f"C{j}", ms=7)
        curve.set(xlabel="frame", ylabel="score")
        curve.set_title(short(title), fontsize=8, loc="left")
        curve.legend()
        for ax, name, at in zip(axes[0, 1:], names, chosen, strict=True):
            image = flat(frames[at])
            ax.imshow(image, cmap="gray" if image.ndim == 2 else None)
            ax.set_title(f"{name}: frame {at}", fontsize=8)

    new_figure(path, 1, 1 + len(names), (3.2 + 2.0 * len(names), 2.4), draw)


def differences(path: Path, predictions: SequencePredictions) -> None:
    """How many sequences lie how many frames off, a panel a name."""
    off = predictions.off_cyclic
    reach = int(np.nanmax(np.abs(off), initial=1)) + 1
    edges = np.arange(-reach, reach + 2) - 0.5

    def draw(figure, axes):
        for j, (ax, name) in enumerate(zip(axes[0], predictions.names, strict=True)):
            known = off[~np.isnan(off[:, j]), j]
            ax.hist(known, edges, color=f"C{j}", alpha=0.8, edgecolor="white", lw=0.5)
            ax.axvline(0, color="0.4", lw=0.8)
            ax.set(
                title=f"{name}: {known.mean():+.2f} ± {known.std():.2f}" if len(known) else name,
                xlabel="found - true (frames)",
            )
        axes[0, 0].set(ylabel="sequences")

    new_figure(path, 1, len(predictions.names), (max(2.4 * len(predictions.names), 4.0), 2.5), draw)

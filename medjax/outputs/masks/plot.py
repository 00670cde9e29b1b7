"""Pictures of masks: over their images, and of their scores."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.evaluation.plot import flat, new_figure, short
from medjax.outputs.masks.metrics import MEASURES
from medjax.outputs.masks.report import MaskPredictions

_FEW = 6
_FLAT = 4  # times as many voxels along other axes: a stack of slices
_PARTS = (0.15, 0.5, 0.85)  # of a structure's extent, where its slices are shown
_VIEWS = ((0, 1), (0, 2), (1, 2))  # of a volume: the axes to the right and upwards


def per_structure(path: Path, predictions: MaskPredictions, baseline: MaskPredictions) -> None:
    """The Dice of each case by structure: median, quartiles, every case; the baseline's mean."""
    which = MEASURES.index("dice")
    values = [d[~np.isnan(d)] for d in predictions.scores[..., which].T]
    means = [
        float(np.mean(d[~np.isnan(d)])) if len(d) else np.nan for d in baseline.scores[..., which].T
    ]

    def draw(figure: Any, axes: Any) -> None:
        ax, places = axes[0, 0], np.arange(len(values))[::-1]
        ax.boxplot(
            values,
            positions=places,
            orientation="horizontal",
            widths=0.5,
            showfliers=False,
            medianprops={"color": "C0", "lw": 1.6},
        )
        jitter = np.random.default_rng(0)
        for place, dice in zip(places, values, strict=True):
            ax.plot(
                dice,
                place + jitter.uniform(-0.15, 0.15, len(dice)),
                ".",
                ms=4,
                color="C0",
                alpha=0.5,
            )
        ax.plot(means, places, "d", ms=6, mfc="none", color="0.4", label="baseline, mean")
        ax.set_yticks(places, predictions.names)
        ax.set(xlabel="Dice overlap", xlim=(-0.02, 1.02), ylim=(-0.6, len(values) - 0.4))
        ax.grid(axis="y", visible=False)
        ax.legend(loc="lower left")

    new_figure(path, 1, 1, (5.6, 1.2 + 0.45 * len(values)), draw)


def over(
    path: Path,
    image: np.ndarray,
    names: Sequence[str],
    mask: np.ndarray,
    *,
    title: str,
    reference: np.ndarray | None = None,
) -> None:
    """A mask `[*space]` over its image `[*space, channel]`, beside the reference where there is
    one; of a volume three slices through the largest sections, or of a stack of few slices three of
    them."""
    views = _views(image, mask if reference is None or not reference.any() else reference)
    shown = [("found", mask)] if reference is None else [("reference", reference), ("found", mask)]
    columns: list[tuple[str, np.ndarray, np.ndarray | None]] = [
        (what, view(image), view(some)) for what, some in shown for view in views
    ]
    if image.ndim == 3:  # a picture is shown by itself too
        columns = [("image", flat(image), None), *columns]
    wide = len(views)
    rows, count = (len(columns) // wide, wide) if image.ndim == 4 else (1, len(columns))
    ratio = max(picture.shape[0] / picture.shape[1] for _, picture, _ in columns)

    def draw(figure: Any, axes: Any) -> None:
        for i, (ax, (what, picture, some)) in enumerate(zip(axes.flat, columns, strict=True)):
            ax.imshow(picture, cmap="gray", origin="lower" if image.ndim == 4 else "upper")
            ax.axis("off")
            if some is not None:
                _fill(ax, some, max(len(names), int(some.max(initial=0))))
            if i % wide == 0:
                ax.set_title(what, fontsize=8, loc="left")
        figure.suptitle(short(title), fontsize=8)
        handles = [
            axes[0, 0].fill_between([], [], [], color=_colour(i), label=name)
            for i, name in enumerate(names)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 5))

    legend = 0.25 * -(-len(names) // 5)
    new_figure(path, rows, count, (2.4 * count, (2.4 * ratio + 0.25) * rows + 0.3 + legend), draw)


def in_few_colours(things: np.ndarray) -> np.ndarray:
    """Numbers of things as few, by which neighbours are usually told apart."""
    return np.where(things > 0, (things.astype(int) - 1) % _FEW + 1, 0)


def _colour(number: int) -> str:
    return f"C{number % 10}"


def _fill(ax: Any, mask: np.ndarray, count: int) -> None:
    """Each structure in its colour, through which the image is seen, with its outline."""
    for number in range(1, count + 1):
        inside = (mask == number).astype(float)
        if inside.any():
            colour, levels = _colour(number - 1), [0.5, 1.5]
            ax.contourf(inside, levels, colors=[colour], alpha=0.35, origin=None)
            if not inside.all():
                ax.contour(inside, [0.5], colors=[colour], linewidths=0.8)


def _views(image: np.ndarray, shown: np.ndarray) -> list[Callable[[np.ndarray], np.ndarray]]:
    """What makes pictures `[up, right]` of arrays: of a volume three slices."""
    if image.ndim == 3:
        return [lambda array: flat(array) if array.ndim == 3 else array]
    thin, usual = int(np.argmin(shown.shape)), sorted(shown.shape)[1]
    if _FLAT * shown.shape[thin] <= usual:  # other sections would be lines
        others = tuple(a for a in range(3) if a != thin)
        there = np.flatnonzero((shown > 0).any(others))
        places = there if len(there) else np.arange(shown.shape[thin])
        chosen = [int(places[int(part * (len(places) - 1))]) for part in _PARTS]
        return [functools.partial(_slice, axis=thin, at=at) for at in chosen]
    out: list[Callable[[np.ndarray], np.ndarray]] = []
    for view in _VIEWS:
        (drop,) = {0, 1, 2} - set(view)
        area = (shown > 0).sum(view)
        at = int(area.argmax()) if area.any() else image.shape[drop] // 2
        out.append(functools.partial(_slice, axis=drop, at=at))
    return out


def _slice(array: np.ndarray, *, axis: int, at: int) -> np.ndarray:
    """One slice, its second axis upwards; of an image its first channel."""
    plane = array.take(at, axis)
    return (plane[..., 0] if array.ndim == 4 else plane).T

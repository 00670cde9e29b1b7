"""Pictures of registration: of each pair, and of overlaps before and after."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.dense_transform import DenseTransform
from medjax.evaluation.plot import new_figure, short
from medjax.outputs.fields.predictions import FieldPredictions

_SQUARES = 8  # of a checkerboard, along the longer side
_LINES = 24  # of a grid
_MOST_NAMES = 12
_VIEWS = ((0, 1), (0, 2), (1, 2))  # of a volume: the axes to the right and upwards


def before_and_after(path: Path, after: FieldPredictions, before: FieldPredictions) -> None:
    """The Dice of every pair, before and after; with few structures by each of them."""
    single = len(after.names) > _MOST_NAMES
    names = ("all structures",) if single else after.names
    tables = [np.nanmean(t.dice, 1, keepdims=True) if single else t.dice for t in (before, after)]

    def draw(figure: Any, axes: Any) -> None:
        ax = axes[0, 0]
        places = np.arange(len(names))[::-1]
        jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(after.case_id))
        for table, colour, label in zip(tables, ("0.6", "C0"), ("before", "after"), strict=True):
            for j, place in enumerate(places):
                ax.plot(table[:, j], place + jitter, ".", ms=4, color=colour, alpha=0.6)
                middle = float(np.nanmedian(table[:, j]))
                ax.plot([middle, middle], [place - 0.28, place + 0.28], color=colour, lw=2)
            ax.plot([], [], ".", color=colour, label=label)
        ax.set_yticks(places, names)
        ax.set(xlabel="Dice overlap (line: median)", xlim=(-0.02, 1.02))
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2)

    new_figure(path, 1, 1, (5.6, 1.4 + 0.5 * len(names)), draw)


def draw_pair(
    path: Path,
    fixed: np.ndarray,
    moving: np.ndarray,
    warped: np.ndarray,
    transform: DenseTransform,
    *,
    title: str,
) -> None:
    """A pair before and after, its deformed grid and its Jacobian determinant; of a volume three
    slices, one a row.

    Args:
      fixed: `[*space]`; moving: on its grid before, and `warped` after the registration.
    """
    determinant = transform.jacobian_determinant()
    residual = _in_voxels(transform)
    views = _views(fixed)
    columns = ("fixed", "before, squares of both", "after, squares of both", "grid", "Jacobian")

    def draw(figure: Any, axes: Any) -> None:
        shade = None
        for row, (view, (right, up)) in zip(axes, views, strict=True):
            origin = "lower" if fixed.ndim == 3 else "upper"
            show = functools.partial(_show, origin=origin)
            f, b, a = (_unit(view(x)) for x in (fixed, moving, warped))
            show(row[0], f)
            show(row[1], _checkerboard(f, b))
            show(row[2], _checkerboard(f, a))
            show(row[3], f, alpha=0.5)
            _draw_grid(row[3], view(residual[..., right]), view(residual[..., up]))
            logarithm = np.log2(np.clip(view(determinant), 1e-3, 1e3))
            shade = row[4].imshow(logarithm, cmap="RdBu_r", vmin=-1.5, vmax=1.5, origin=origin)
            folds = (view(determinant) <= 0).astype(float)
            if folds.any():
                row[4].contour(folds, [0.5], colors="k", linewidths=0.8)
            row[4].axis("off")
        for ax, name in zip(axes[0], columns, strict=True):
            ax.set_title(name, fontsize=8)
        bar = figure.colorbar(shade, ax=axes[:, 4], shrink=0.8)
        bar.set_ticks([-1, 0, 1], labels=["1/2", "1", "2"])
        figure.suptitle(short(title), fontsize=8)

    shapes = [view(fixed).shape for view, _ in views]
    height = sum(min(2.0 * h / w, 3.0) for h, w in shapes)
    new_figure(path, len(views), 5, (10.8, height + 0.5), draw)


def _views(fixed: np.ndarray) -> list[tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int]]]:
    """What makes pictures `[up, right]` of arrays, and the axes to the right and upwards."""
    if fixed.ndim == 2:
        return [(lambda array: array, (1, 0))]
    out: list[tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int]]] = []
    for view in _VIEWS:
        (drop,) = {0, 1, 2} - set(view)
        above = (fixed - fixed.min()).sum(view) + 1e-9
        at = int(np.average(np.arange(fixed.shape[drop]), weights=above))
        out.append((functools.partial(_take, axis=drop, at=at), view))
    return out


def _take(array: np.ndarray, *, axis: int, at: int) -> np.ndarray:
    return array.take(at, axis).T


def _unit(picture: np.ndarray) -> np.ndarray:
    low, high = np.quantile(picture, [0.005, 0.995])
    return np.clip((picture.astype(float) - low) / max(high - low, 1e-9), 0, 1)


def _show(ax: Any, picture: np.ndarray, *, origin: str, alpha: float = 1.0) -> None:
    ax.imshow(picture, cmap="gray", origin=origin, vmin=0, vmax=1, alpha=alpha)
    ax.axis("off")


def _checkerboard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squares of the one and the other in turn."""
    side = max(max(a.shape) // _SQUARES, 1)
    rows, columns = np.indices(a.shape) // side
    return np.where((rows + columns) % 2, b, a)


def _in_voxels(transform: DenseTransform) -> np.ndarray:
    """What the displacement adds to its affine part, in voxels of the fixed image."""
    to_voxel = np.linalg.inv(transform.affine @ transform.world_from_voxel)[:-1, :-1]
    return transform.residual_mm @ to_voxel.T


def _draw_grid(ax: Any, right: np.ndarray, up: np.ndarray) -> None:
    """Lines of a regular grid, where the displacement takes them."""
    rows, columns = np.indices(right.shape)
    step = max(max(right.shape) // _LINES, 1)
    x, y = columns + right, rows + up
    for k in range(0, right.shape[0], step):
        ax.plot(x[k], y[k], color="C1", lw=0.6)
    for k in range(0, right.shape[1], step):
        ax.plot(x[:, k], y[:, k], color="C1", lw=0.6)
    ax.set_xlim(-0.5, right.shape[1] - 0.5)
    ax.set_ylim(
        *sorted((-0.5, right.shape[0] - 0.5), reverse=bool(ax.get_ylim()[0] > ax.get_ylim()[1]))
    )

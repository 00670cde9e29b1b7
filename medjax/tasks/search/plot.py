"""The pictures of landmark search."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.evaluation.plot import animate, new_figure

_SMALL = {"fontsize": 7, "loc": "left"}
_CORNERS = np.array([[-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1]])


def histogram(path: Path, errors: dict[str, np.ndarray], *, unit: str = "mm") -> None:
    """The errors of all searches, a panel a landmark, with the median."""
    every = np.concatenate([e.ravel() for e in errors.values()])
    every = every[~np.isnan(every)]
    far = max(float(np.quantile(every, 0.98)), 1e-6) if len(every) else 1.0

    def draw(figure, axes):
        for ax, (name, error) in zip(axes[0], errors.items(), strict=True):
            known = error[~np.isnan(error)]
            ax.hist(np.minimum(known, far), bins=np.linspace(0, far, 41), color="C0", alpha=0.8)
            if len(known):
                middle = float(np.median(known))
                ax.axvline(middle, color="C3", lw=1.2)
                ax.annotate(
                    f"median {middle:.2f} {unit}",
                    (middle, 0.97),
                    color="C3",
                    xycoords=("data", "axes fraction"),
                    xytext=(4, 0),
                    fontsize=8,
                    textcoords="offset points",
                    va="top",
                )
            ax.set(
                title=f"{name}: {len(known)} of {error.size} searches",
                xlim=(0, far),
                xlabel=f"error ({unit}); last bar: and farther",
            )
        axes[0, 0].set_ylabel("searches")

    new_figure(path, 1, len(errors), (max(3.3 * len(errors), 4.0), 2.7), draw)


def paths(
    path: Path,
    image: np.ndarray,
    names: Sequence[str],
    target: np.ndarray,
    trace: np.ndarray,
    level: np.ndarray,
) -> None:
    """Agents' ways over slices through their landmark: a row a landmark, a line an agent.

    Args:
      image: `[*space]`.
      target: `[landmark, ndim]`, voxels.
      trace: `[time, start, landmark, ndim]`, voxels; a way is coloured by its level.
      level: `[time, start, landmark]`.
    """
    views = _views(image.ndim)
    levels = int(level.max()) + 1

    def draw(figure, axes):
        for row, name in enumerate(names):
            for ax, view in zip(axes[row], views, strict=True):
                _slice(ax, image, target[row], view)
                for start in range(trace.shape[1]):
                    _way(ax, trace[:, start, row], level[:, start, row], view)
                ax.plot(*target[row, list(view)], "o", ms=7, mfc="none", mec="C2", mew=1.4)
            axes[row, 0].set_title(name, **_SMALL)
        _key(axes[0, 0], levels)
        figure.get_layout_engine().set(rect=(0, 0, 1, 0.98))  # titles of hidden axes do not count
        figure.legend(loc="outside lower center", ncols=columns)

    size, columns = 2.5, min(levels + 2, 2 * len(views))  # of the legend: two fit below a view
    height = 0.2 + 0.2 * -(-(levels + 2) // columns)
    new_figure(
        path,
        len(names),
        len(views),
        (size * len(views), size * len(names) * _aspect(image, views) + height),
        draw,
    )


def _views(ndim: int) -> tuple[tuple[int, int], ...]:
    """The axes that are shown: the first to the right, the second upwards; of a picture the
    rows downwards."""
    return ((1, 0),) if ndim == 2 else ((0, 1), (0, 2), (1, 2))


def _aspect(image: np.ndarray, views: Sequence[tuple[int, int]]) -> float:
    """The height of the tallest panel over its width."""
    return max(image.shape[up] / image.shape[right] for right, up in views)


def _slice(ax, image: np.ndarray, point: np.ndarray, view: tuple[int, int]) -> None:
    """The slice of a volume through `point`, or the picture."""
    if image.ndim == 2:
        ax.imshow(image, cmap="gray")
    else:
        (drop,) = {0, 1, 2} - set(view)
        at = image.shape[drop] // 2 if np.isnan(point[drop]) else round(float(point[drop]))
        ax.imshow(
            image.take(np.clip(at, 0, image.shape[drop] - 1), drop).T, cmap="gray", origin="lower"
        )
    ax.axis("off")
    ax.set_autoscale_on(False)


def _way(ax, way: np.ndarray, level: np.ndarray, view: tuple[int, int]) -> None:
    right, up = view
    ax.plot(*way[0, [right, up]], ".", ms=4, color="0.85")
    for i in range(int(level.max()) + 1):
        at = np.flatnonzero(level == i)
        if len(at):  # one more, so that the line joins the next level's
            part = way[at[0] : at[-1] + 2]
            ax.plot(part[:, right], part[:, up], color=_colour(i), lw=0.9, alpha=0.9)
    ax.plot(*way[-1, [right, up]], "x", ms=5, color="C3", mew=1.3)


def _colour(scale: int) -> str:
    """Not those of a landmark and of where an agent rests."""
    return ("C0", "C1", "C4", "C6", "C8", "C9")[scale % 6]


def _key(ax, levels: int) -> None:
    """What lines and marks mean, for the legend."""
    for i in range(levels):
        ax.plot([], [], color=_colour(i), label=f"scale {i + 1}")
    ax.plot([], [], "x", color="C3", label="rest")
    ax.plot([], [], "o", mfc="none", mec="C2", label="landmark")


def animation(
    path: Path,
    image: np.ndarray,
    name: str,
    target: np.ndarray,
    trace: np.ndarray,
    level: np.ndarray,
    *,
    voxel_mm: float,
    spacing: Sequence[int],
    crop: Sequence[int],
) -> None:
    """One search as a GIF: the slices go with the agent, and a frame shows what it sees.

    Args:
      image: `[*space]`.
      target: `[ndim]`, voxels.
      trace: `[time, ndim]`, voxels, and `level` `[time]`.
      spacing: voxels between two samples of a crop, by level.
      crop: its shape.
    """
    views = _views(image.ndim)

    def frame(figure, axes, time: int) -> None:
        here, scale = trace[time], int(level[time])
        for ax, view in zip(axes[0], views, strict=True):
            ax.clear()
            right, up = view
            _slice(ax, image, here, view)
            ax.plot(trace[: time + 1, right], trace[: time + 1, up], color=_colour(scale), lw=1.0)
            ax.plot(*here[[right, up]], "x", ms=6, color="C3", mew=1.4)
            ax.plot(*target[[right, up]], "o", ms=7, mfc="none", mec="C2", mew=1.4)
            wide, high = (spacing[scale] * crop[a] / 2 for a in view)
            ax.plot(
                here[right] + wide * _CORNERS[0],
                here[up] + high * _CORNERS[1],
                color=_colour(scale),
                lw=0.9,
            )
        away = float(np.linalg.norm(here - target)) * voxel_mm
        axes[0, 0].set_title(
            f"{name}: step {time}, scale {scale + 1}, {away:.1f} mm away", **_SMALL
        )

    rest = np.flatnonzero((trace != trace[-1]).any(1))
    frames = min(int(rest[-1]) + 2 if len(rest) else 1, len(trace))
    animate(
        path,
        1,
        len(views),
        (2.6 * len(views), 2.6 * _aspect(image, views) + 0.2),
        frame,
        frames=frames,
    )

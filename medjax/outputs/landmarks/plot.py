"""Pictures of landmarks: over their images, and of their errors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data import geometry
from medjax.data.dataset import Split
from medjax.evaluation.plot import flat, new_figure, plain_numbers, short
from medjax.evaluation.stats import nan_mean
from medjax.outputs.base import Picture
from medjax.outputs.landmarks.report import LandmarkPredictions


def cumulative(path: Path, predictions: LandmarkPredictions, baseline: LandmarkPredictions) -> None:
    """The share of points nearer than a distance, of the network and of the mean shape."""

    def draw(figure, axes):
        ax = axes[0, 0]
        for what, label, style in ((predictions, "network", "-"), (baseline, "mean shape", "--")):
            error = np.nan_to_num(what.error_mm[what.present], nan=np.inf)
            share = np.arange(1, len(error) + 1) / len(error)
            ax.step(
                np.sort(error),
                share,
                style,
                where="post",
                label=label,
                color="C0" if what is predictions else "0.5",
            )
        every = np.concatenate([w.error_mm[w.present] for w in (predictions, baseline)])
        every = every[every > 0]
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
        ax.set(
            xlabel="error (mm)",
            ylabel="share of points with a smaller error",
            ylim=(0, 1.02),
            xlim=np.quantile(every, [0.01, 1.0]) * [0.8, 1.2] if len(every) else None,
        )
        ax.legend(loc="lower right")

    new_figure(path, 1, 1, (4.4, 3.2), draw)


def per_landmark(path: Path, predictions: LandmarkPredictions) -> None:
    """The errors of each landmark: median, quartiles and outliers."""
    errors = [e[~np.isnan(e)] for e in predictions.error_mm.T]

    def draw(figure, axes):
        ax = axes[0, 0]
        places = np.arange(len(errors))[::-1]
        ax.boxplot(
            errors,
            positions=places,
            orientation="horizontal",
            widths=0.6,
            showfliers=True,
            flierprops={"marker": ".", "ms": 3, "mec": "C3"},
            medianprops={"color": "C0", "lw": 1.6},
        )
        ax.set_yticks(places, predictions.names)
        ax.set(xlabel="error (mm)", xlim=(0, None))
        ax.grid(axis="y", visible=False)

    new_figure(path, 1, 1, (6.0, 0.9 + 0.22 * len(errors)), draw)


def agreement(path: Path, name: str, true: np.ndarray, measured: np.ndarray) -> None:
    """Difference against mean of two measurements (Bland and Altman 1986), with the limits."""
    known = ~np.isnan(true + measured)
    middle, apart = (true + measured)[known] / 2, (measured - true)[known]
    bias, spread = apart.mean(), 1.96 * apart.std(ddof=1) if len(apart) > 1 else np.nan

    def draw(figure, axes):
        ax = axes[0, 0]
        ax.plot(middle, apart, "o", ms=3.5, alpha=0.6, mec="none")
        for value, label in (
            (bias, f"bias {bias:+.2f}"),
            (bias + spread, f"{bias + spread:+.2f}"),
            (bias - spread, f"{bias - spread:+.2f}"),
        ):
            ax.axhline(value, color="C3", ls="-" if value == bias else "--", lw=1.0)
            ax.annotate(
                label,
                (1.0, value),
                xycoords=("axes fraction", "data"),
                fontsize=8,
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color="C3",
            )
        ax.set(
            xlabel=f"mean of reference and network: {name.upper()} (mm)",
            ylabel="network - reference (mm)",
            title=f"n = {known.sum()}; dashed: 95 % limits of agreement",
        )

    new_figure(path, 1, 1, (4.8, 3.2), draw)


def worst(path: Path, predictions: LandmarkPredictions, split: Split, *, most: int = 8) -> None:
    """The cases with the largest mean error first: true and found points, and lines between them.

    A volume is shown as three slices through the middle of its true points, which lie before or
    behind them.
    """
    mean = _mean_error_mm(predictions)
    chosen = np.argsort(-mean, kind="stable")[:most]
    volumes = predictions.points_px.shape[-1] == 3
    views = ((0, 1), (0, 2), (1, 2)) if volumes else ((0, 1),)
    columns = 3 if volumes else min(4, len(chosen))
    chosen = chosen[:4] if volumes else chosen
    rows = -(-len(chosen) * len(views) // columns)
    ratio = split.image_shape[0] / split.image_shape[1] if not volumes else 1.0

    def draw(figure, axes):
        for ax in axes.flat:
            ax.axis("off")
        panels = ((i, view) for i in chosen for view in views)
        for ax, (i, view) in zip(axes.flat, panels, strict=False):
            inverse = np.linalg.inv(split["to_file"][i])
            image = split.read(int(i))
            _panel(
                ax,
                image,
                view,
                *(
                    geometry.apply(inverse, p[i])
                    for p in (predictions.true_px, predictions.points_px)
                ),
            )
            if view == views[0]:
                ax.set_title(
                    f"{short(predictions.case_id[i])}\nmean {mean[i]:.2f} mm",
                    fontsize=7,
                    loc="left",
                )
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.get_layout_engine().set(rect=(0, 0, 1, 0.97))  # titles of hidden axes do not count
        figure.legend(handles, labels, loc="outside lower center", ncols=2)

    new_figure(path, rows, columns, (2.6 * columns, (2.6 * ratio + 0.35) * rows + 0.3), draw)


def _mean_error_mm(predictions: LandmarkPredictions) -> np.ndarray:
    """Of each case; infinite where nothing was found."""
    return np.nan_to_num(nan_mean(predictions.error_mm, axis=1), nan=np.inf)


def draw_worst(
    folder: Path, predictions: LandmarkPredictions, split: Split, *, most: int
) -> list[Picture]:
    """A picture a case, those with the largest mean error first."""
    mean, cases = _mean_error_mm(predictions), []
    for number, i in enumerate(np.argsort(-mean, kind="stable")[:most], start=1):
        name = f"worst_{number}.png"
        worst(folder / name, predictions.only([i]), split.only([i]), most=1)
        error = predictions.error_mm[i]
        known = np.nan_to_num(error, nan=-1.0)
        far = predictions.names[int(known.argmax())]
        text = (
            f"mean error {mean[i]:.2f} mm; the largest {known.max():.2f} mm, of {far}"
            if np.isfinite(mean[i])
            else "no landmark was found"
        )
        line = int(i) * len(predictions.names) + int(known.argmax()) + 2
        wide = predictions.points_px.shape[-1] == 3
        cases.append(Picture(name, text, True, predictions.case_id[i], line, wide))
    return cases


def over(
    path: Path, image: np.ndarray, names: Sequence[str], points: np.ndarray, *, title: str
) -> None:
    """Points `[n, ndim]`, in voxels, over their image; of a volume over three slices through their
    middle, which they lie before or behind. Where they are many, they are numbered."""
    views = ((0, 1), (0, 2), (1, 2)) if image.ndim == 4 else ((0, 1),)
    ratio = 1.0 if image.ndim == 4 else image.shape[0] / image.shape[1]
    nothing, few = np.full_like(points, np.nan), len(names) <= 4
    labels = names if few else [str(i) for i in range(1, len(names) + 1)]
    margin_inches = 0.0 if few else 1.5 * -(-len(names) // 24)  # inches, for their key

    def draw(figure, axes):
        for ax, view in zip(axes[0], views, strict=True):
            right, up = _panel(ax, image, view, nothing, points)
            ax.axis("off")
            for label, point in zip(labels, points, strict=True):
                if not np.isnan(point).any():
                    ax.annotate(
                        label,
                        point[[right, up]],
                        color="C1",
                        fontsize=6,
                        xytext=(3, 3),
                        textcoords="offset points",
                    )
        axes[0, 0].set_title(short(title), fontsize=7, loc="left")
        if not few:
            key = [
                axes[0, 0].plot([], [], " ", label=f"{n}  {name}")[0]
                for n, name in zip(labels, names, strict=True)
            ]
            figure.legend(
                handles=key,
                loc="outside right center",
                fontsize=6,
                handlelength=0,
                ncols=-(-len(names) // 24),
            )

    new_figure(path, 1, len(views), (3.2 * len(views) + margin_inches, 3.2 * ratio + 0.3), draw)


def _panel(
    ax, image: np.ndarray, view: tuple[int, int], true: np.ndarray, predicted: np.ndarray
) -> tuple[int, int]:
    """One image, or one slice of a volume; `view` are the axes that are shown.

    Returns:
      Which axes run to the right and upwards.
    """
    if image.ndim == 4:  # the first of the two runs to the right, the second upwards
        (drop,) = {0, 1, 2} - set(view)
        middle = nan_mean((predicted if np.isnan(true).all() else true)[:, drop])
        at = image.shape[drop] // 2 if np.isnan(middle) else round(float(middle))
        picture, right, up = image.take(at, drop)[..., 0].T, view[0], view[1]
        ax.imshow(picture, cmap="gray", origin="lower")
    else:
        right, up = 1, 0
        ax.imshow(flat(image), cmap="gray")
    ax.set_autoscale_on(False)
    for a, b in zip(true, predicted, strict=True):
        ax.plot([a[right], b[right]], [a[up], b[up]], color="C1", lw=1.0)
    ax.plot(true[:, right], true[:, up], "o", ms=3.5, mfc="none", mec="C2", label="reference")
    ax.plot(predicted[:, right], predicted[:, up], "x", ms=3.5, color="C3", label="found")
    return right, up

"""The pictures of a classifier."""

from pathlib import Path

import numpy as np

from medjax.evaluation import metrics
from medjax.evaluation.plot import flat, new_figure, pick_colours, short
from medjax.outputs.labels.predictions import LabelPredictions


def curves(path: Path, predictions: LabelPredictions) -> None:
    """ROC and precision-recall: of class 1 with two classes, else one line a class."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    pair = len(predictions.classes) == 2
    shown = range(1, 2) if pair else range(len(predictions.classes))
    unit_weight = np.ones((1, len(predictions.label)))

    def draw(figure, axes):
        left, right = axes[0]
        for c, colour in zip(shown, pick_colours(len(shown)), strict=True):
            truth, score = (predictions.label == c).astype(float), predictions.probability[:, c]
            if not 0 < truth.sum() < len(truth):
                continue
            auc = metrics.binary_auc(score, truth, unit_weight)[0]
            precise = metrics.binary_average_precision(score, truth, unit_weight)[0]
            x, y, _ = roc_curve(truth, score)
            left.plot(
                x, y, color=colour, label=f"{predictions.classes[c]}  {auc:.3f}  {precise:.3f}"
            )
            y, x, _ = precision_recall_curve(truth, score)
            right.plot(x, y, color=colour, drawstyle="steps-post")
            if pair:
                right.axhline(truth.mean(), color="0.6", ls=":")
        left.plot([0, 1], [0, 1], color="0.6", ls=":", label="chance")
        left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC", aspect="equal")
        right.set(
            xlabel="recall",
            ylabel="precision",
            title="Precision-recall",
            ylim=(0, 1.02),
            aspect="equal",
        )
        figure.legend(title="AUC, average precision", loc="outside right center")

    new_figure(path, 1, 2, (9.2, 3.6), draw)


def confusion(path: Path, predictions: LabelPredictions) -> None:
    """True class by predicted class: counts, coloured by the share of the row."""
    table = metrics.confusion(
        predictions.label, predictions.probability, np.ones((1, len(predictions.label)))
    )[0]
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    n = len(predictions.classes)

    def draw(figure, axes):
        ax = axes[0, 0]
        ax.grid(False)
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i in range(n):
            for j in range(n):
                if table[i, j]:
                    ax.text(
                        j,
                        i,
                        f"{table[i, j]:.0f}",
                        ha="center",
                        va="center",
                        color="white" if share[i, j] > 0.55 else "black",
                        fontsize=8,
                    )
        ax.set_xticks(
            range(n),
            predictions.classes,
            rotation=0 if n < 4 else 45,
            ha="center" if n < 4 else "right",
        )
        ax.set_yticks(range(n), predictions.classes)
        ax.set(xlabel="predicted", ylabel="true")
        figure.colorbar(image, ax=ax, label="share of the true class", shrink=0.8)

    side = 2.6 + 0.32 * n
    new_figure(path, 1, 1, (side + 1.2, side), draw)


def reliability(path: Path, predictions: LabelPredictions) -> None:
    """Accuracy against confidence in bins, and how many cases each bin holds."""
    weight = np.ones((1, len(predictions.label)))
    bins = [
        tuple(float(v[0]) for v in b)
        for b in metrics.reliability(predictions.label, predictions.probability, weight)
    ]
    edges = np.arange(metrics.ECE_BINS) / metrics.ECE_BINS
    width = 1 / metrics.ECE_BINS
    gap = metrics.evaluate(metrics.ece, predictions.label, predictions.probability)

    def draw(figure, axes):
        top, bottom = axes[:, 0]
        top.bar(
            edges,
            [b[2] for b in bins],
            width,
            align="edge",
            color="C0",
            alpha=0.75,
            edgecolor="white",
            label="accuracy",
        )
        points = [b for b in bins if b[0]]
        middle = [e + width / 2 for e, b in zip(edges, bins, strict=True) if b[0]]
        top.plot(middle, [b[1] for b in points], "o", color="C3", ms=4, label="mean confidence")
        top.plot([0, 1], [0, 1], color="0.5", ls=":", label="perfect")
        top.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        top.set_title(f"Reliability (ECE {gap:.3f}, of which some is noise)", fontsize=9)
        figure.legend(*top.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        bottom.bar(edges, [b[0] for b in bins], width, align="edge", color="0.6", edgecolor="white")
        bottom.set(xlabel="confidence (highest probability)", ylabel="cases", xlim=(0, 1))

    new_figure(path, 2, 1, (4.2, 4.6), draw)


def find_mistakes(predictions: LabelPredictions) -> np.ndarray:
    """The cases that were answered wrong, those with most confidence first."""
    guess, top = predictions.probability.argmax(1), predictions.probability.max(1)
    wrong = np.flatnonzero(guess != predictions.label)
    return wrong[np.argsort(-top[wrong], kind="stable")]


def mistakes(path: Path, predictions: LabelPredictions, read, *, most: int = 24) -> int:
    """The wrong answers that were given with most confidence, worst first; returns how many.

    Args:
      read: case index to image `[*space, channel]`; of a volume the middle slice is shown.
      most: how many at the most.
    """
    guess, top = predictions.probability.argmax(1), predictions.probability.max(1)
    wrong = find_mistakes(predictions)
    worst = wrong[:most]
    columns = min(6, max(len(worst), 1))
    rows = max(-(-len(worst) // columns), 1)

    def draw(figure, axes):
        for ax in axes.flat:
            ax.axis("off")
        for ax, i in zip(axes.flat, worst, strict=False):
            image = flat(read(int(i)))
            ax.imshow(image, cmap="gray" if image.ndim == 2 else None)
            right, guessed = (
                short(predictions.classes[c], most=24) for c in (predictions.label[i], guess[i])
            )
            ax.set_title(f"{right}\nsaid {guessed}\nat {100 * top[i]:.0f} %", fontsize=6)
        figure.suptitle(
            f"{len(wrong)} of {len(guess)} cases wrong"
            + (f"; the {len(worst)} most confident" if len(worst) < len(wrong) else ""),
            fontsize=9,
        )

    new_figure(path, rows, columns, (max(1.5 * columns, 3.4), 1.95 * rows + 0.35), draw)
    return len(wrong)

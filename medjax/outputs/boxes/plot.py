"""Pictures of boxes: over their images, and of how many are found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.evaluation.plot import flat, new_figure, plain_numbers, short
from medjax.outputs.boxes import metrics
from medjax.outputs.boxes.report import BoxPredictions


def curves(path: Path, predictions: BoxPredictions) -> None:
    """Precision over recall, and sensitivity over false positives a case, of each class."""
    counts, boxes = predictions.table
    weight = np.ones((1, len(counts)))

    def draw(figure: Any, axes: Any) -> None:
        left, right = axes[0]
        for c, name in enumerate(predictions.names):
            recall, precision = metrics.precision_recall(counts[:, c], boxes[:, c], weight)
            left.step(np.append(0, recall[0]), np.append(1, precision[0]), where="post", label=name)
            sensitivity = metrics.froc_curve(counts[:, c], boxes[:, c], weight)[0]
            right.plot(metrics.FROC_RATES, sensitivity, "o-", ms=3, label=name)
        left.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        right.set(xlabel="false positives a case", ylabel="sensitivity", ylim=(0, 1.02))
        right.set_xscale("log")
        plain_numbers(right.xaxis)
        right.legend(loc="lower right")

    new_figure(path, 1, 2, (7.4, 3.0), draw)


def over(
    path: Path,
    image: np.ndarray,
    names: Sequence[str],
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    title: str,
    true: np.ndarray | None = None,
) -> None:
    """Boxes `[k, 2 * ndim]`, in voxels, over their image; those of the reference dashed. Of a
    volume the slice through most of them, with those that it cuts."""
    at = 0
    if image.ndim == 4:
        shown = boxes if true is None or not len(true) else true
        inside = [(shown[:, 2] <= k) & (k <= shown[:, 5]) for k in range(image.shape[2])]
        at = int(np.argmax([i.sum() for i in inside]))
        image = image[:, :, at]
    picture = flat(image)

    def draw(figure: Any, axes: Any) -> None:
        ax = axes[0, 0]
        ax.imshow(picture, cmap="gray")
        ax.axis("off")
        for box in true if true is not None else ():
            _rectangle(ax, box, at, "0.9", "--")
        for box, label in zip(boxes, labels, strict=True):
            _rectangle(ax, box, at, f"C{label % 10}", "-")
        handles = [ax.plot([], [], color=f"C{i % 10}", label=n)[0] for i, n in enumerate(names)]
        if true is not None:
            handles.append(ax.plot([], [], "--", color="0.6", label="reference")[0])
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))
        ax.set_title(short(title), fontsize=8, loc="left")

    ratio = picture.shape[0] / picture.shape[1]
    new_figure(path, 1, 1, (4.6, 4.6 * ratio + 0.7), draw)


def _rectangle(ax: Any, box: np.ndarray, at: int, colour: str, style: str) -> None:
    """A box of a picture, or the part of one that a slice shows."""
    ndim = len(box) // 2
    if ndim == 3 and not box[2] <= at <= box[5]:
        return
    (y, x), (height, width) = box[:2], box[ndim : ndim + 2] - box[:2]
    xs, ys = [x, x + width, x + width, x, x], [y, y, y + height, y + height, y]
    ax.plot(xs, ys, style, color=colour, lw=1.0)

"""What a run on sequences leaves behind: scores of frames, the frames chosen, and baselines."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation.predictions import Predictions
from medjax.evaluation.stats import nan_mean
from medjax.outputs.frames import metrics as temporal_metrics
from medjax.train.record import write_table


@dataclasses.dataclass(frozen=True)
class SequencePredictions(Predictions):
    """Scores and true frames of n sequences; T is the longest.

    Attributes:
      case_id, subject_id: `[n]`.
      names: of the frames.
      task: `frames` or `planes`.
      marks, score: `[n, T, name]`; NaN beyond the length.
      frame_ms: `[n]`; NaN where not known.
      cyclic: whether the first frame follows the last.
    """

    case_id: list[str]
    subject_id: list[str]
    names: tuple[str, ...]
    task: str
    marks: np.ndarray
    score: np.ndarray
    frame_ms: np.ndarray
    cyclic: bool

    @property
    def length(self) -> np.ndarray:
        """Frames of each sequence: `[n]`."""
        return (~np.isnan(self.marks[..., 0])).sum(1)

    @property
    def chosen(self) -> np.ndarray:
        """The frame with the highest score: `[n, name]`."""
        return np.nanargmax(self.score, axis=1)

    @property
    def off(self) -> np.ndarray:
        """Found minus (nearest) true frame: `[n, name]`; NaN where no frame has the name."""
        return temporal_metrics.off(self.marks, self.score)

    @property
    def off_cyclic(self) -> np.ndarray:
        """The same, the short way round where there is a cycle."""
        return temporal_metrics.off(self.marks, self.score, cyclic=self.cyclic)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """What the metrics of the task take."""
        if self.task == "planes":
            return self.marks, self.score
        off = self.off
        step = np.broadcast_to(self.frame_ms[:, None], off.shape)
        return ~np.isnan(off), np.stack([off, self.off_cyclic, step], -1)

    def write(self, path: Path) -> None:
        """One row a sequence and name; empty where no frame has the name."""
        off, cyclic, chosen, length = self.off, self.off_cyclic, self.chosen, self.length
        columns = [
            chosen - off,
            off,
            cyclic,
            cyclic * self.frame_ms[:, None],
            np.nanmax(self.score, axis=1),
        ]
        header = [
            "case_id",
            "subject_id",
            "name",
            "frames",
            "pred_index",
            "true_index",
            "off",
            "off_cyclic",
            "off_ms",
            "score",
        ]
        write_table(
            path,
            header,
            (
                [
                    self.case_id[i],
                    self.subject_id[i],
                    self.names[j],
                    length[i],
                    chosen[i, j],
                    *(float(c[i, j]) for c in columns),
                ]
                for i, j in np.ndindex(off.shape)
            ),
        )


def of_split(
    split: Split, names: Sequence[str], score: np.ndarray, *, task: str, cyclic: bool
) -> SequencePredictions:
    """Scores `[n, T, name]` of the sequences of a split."""
    beyond = np.arange(split.image_shape[0]) >= split["length"][:, None]
    marks = np.where(beyond[..., None], np.nan, split["marks"])
    return SequencePredictions(
        split.case_id,
        split.subject_id,
        tuple(names),
        task,
        marks,
        np.where(beyond[..., None], np.nan, score),
        split["frame_ms"],
        cyclic,
    )


def with_scores(predictions: SequencePredictions, score: np.ndarray) -> SequencePredictions:
    """The same sequences with other scores `[n, T, name]`."""
    beyond = np.isnan(predictions.marks[..., :1])
    return dataclasses.replace(predictions, score=np.where(beyond, np.nan, score))


def pooled(predictions: SequencePredictions) -> SequencePredictions:
    """One answer a subject and length, as for slices of a study: by the mean of their scores."""
    score = predictions.score.copy()
    groups: dict[tuple, list[int]] = {}
    for i, key in enumerate(zip(predictions.subject_id, predictions.length, strict=True)):
        groups.setdefault(key, []).append(i)
    for rows in groups.values():
        score[rows] = score[rows].mean(0)
    return dataclasses.replace(predictions, score=score)


def at_mean(train: Split, split: Split, *, cyclic: bool = False) -> np.ndarray:
    """Scores of the trivial baseline: highest where the frame lies in the training sequences in
    the mean, as a share of the length; `[n, T, name]`.

    Of cycles it is the circular mean, and shares are of the whole cycle.
    """

    def share(split: Split) -> np.ndarray:
        ends = split["length"] - (0 if cyclic else 1)
        return np.arange(split.image_shape[0]) / ends[:, None]

    marks = np.where(train["marks"] > 0, share(train)[..., None], np.nan)
    if cyclic:
        turn = nan_mean(nan_mean(np.exp(2j * np.pi * marks), axis=1), axis=0)
        goal = np.nan_to_num(np.angle(turn) / (2 * np.pi) % 1.0, nan=0.5)
    else:
        goal = np.nan_to_num(nan_mean(nan_mean(marks, axis=1), axis=0), nan=0.5)
    away = np.abs(share(split)[..., None] - goal)
    away = np.minimum(away, 1 - away) if cyclic else away
    return 1.0 / (2.0 + 100 * away)  # at most 0.5: no frame is certain


def by_brightness(split: Split) -> dict[str, np.ndarray]:
    """Scores for ED and ES from a number a frame, the largest at ED: `[n, T, 2]`.

    The mean intensity, and the area of blood: pixels of the middle above Otsu's threshold of the
    sequence.
    """
    size = split.image_shape[0]
    curves: dict[str, list] = {"mean intensity": [], "area of blood": []}
    for i, length in enumerate(split["length"]):
        frames = split.read(i)[:length].mean(-1)
        height, width = frames.shape[1:]
        middle = frames[:, height // 4 : -(height // 4), width // 4 : -(width // 4)]
        for name, curve in (
            ("mean intensity", frames.mean((1, 2))),
            ("area of blood", (middle > otsu(middle)).mean((1, 2))),
        ):
            curves[name].append(np.pad(curve, (0, size - length)))
    return {name: np.stack([np.stack(c), -np.stack(c)], -1) for name, c in curves.items()}


def otsu(values: np.ndarray) -> float:
    """The threshold that parts the values best in two (Otsu 1979): by their variance between."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    low = np.cumsum(counts).astype(float)
    high = low[-1] - low
    below = np.cumsum(counts * middles)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = low * high * (below / low - (below[-1] - below) / high) ** 2
    return float(edges[1 + np.nanargmax(between)])

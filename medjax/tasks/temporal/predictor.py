"""Sequences to the frames that matter."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax import models
from medjax.config import option
from medjax.data import images, placing
from medjax.data.sequences import files
from medjax.data.sequences.case import Clip
from medjax.data.source import Split
from medjax.errors import UserError
from medjax.outputs.base import NO_HINTS, ImageHints, ModelSpec, PreparedImage, Weights, symbols
from medjax.outputs.frames import plot as temporal_plot
from medjax.outputs.frames import report as temporal_report
from medjax.outputs.frames.report import SequencePredictions
from medjax.tasks.temporal import task as temporal
from medjax.train import feed, mesh, step
from medjax.typing import Array


class FrameAnswer(NamedTuple):
    """The frames of one sequence.

    Attributes:
      names: `n` of them.
      frame: the number of the frame with the highest score, from 0: `[n]`.
      score: `[time, n]`, as of `TemporalTask`.
      frame_ms: from one frame to the next; NaN where not known.
    """

    case_id: str
    names: tuple[str, ...]
    frame: np.ndarray
    score: np.ndarray
    frame_ms: float

    def rows(self) -> list[dict[str, Any]]:
        """For `predictions.csv`."""
        return [
            {
                "case_id": self.case_id,
                "name": name,
                "frame": int(t),
                "time_ms": float(t) * self.frame_ms,
                "score": float(self.score[t, j]),
            }
            for j, (name, t) in enumerate(zip(self.names, self.frame, strict=True))
        ]

    def score_rows(self) -> list[dict[str, Any]]:
        """For `scores.csv`: every frame."""
        return [
            {"case_id": self.case_id, "frame": t, **dict(zip(self.names, s, strict=True))}
            for t, s in enumerate(self.score.tolist())
        ]


@dataclasses.dataclass(frozen=True)
class TemporalPredictor:
    """How frames are found; the fields are flags of `experiments.temporal`."""

    task: str = option(
        "frames",
        "each name has one frame, or (planes) any number",
        choices=tuple(temporal.LOSSES),
        kept=True,
    )
    encoder: str = option("cnn", "network of a frame", choices=tuple(models.CLASSIFIERS), kept=True)
    features: int = option(64, "numbers that it gives a frame", least=1, kept=True)
    recurrence: str = option("tcn", "what runs over them", choices=models.RECURRENCES, kept=True)
    hidden: int = option(64, "its features", least=1, kept=True)
    loss: str = option(
        "",
        "frames: time (cross-entropy over frames) or curve (Kong et al. 2016; ED, ES); planes: "
        "joint (Chen et al. 2015) or softmax; empty: the first",
        choices=("", *(name for losses in temporal.LOSSES.values() for name in losses)),
        kept=True,
    )
    smooth: int = option(1, "scores are means over so many frames", least=1)
    frame_ms: float = 0.0
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))

    def network(self, trained: ModelSpec, *, dropout: float = 0.0, remat: bool = False) -> Any:
        """The network alone."""
        outputs = temporal.num_outputs(self.loss, len(trained.info.frames))
        return models.over_time(
            self.encoder,
            recurrence=self.recurrence,
            features=self.features,
            hidden=self.hidden,
            outputs=outputs,
            dropout=dropout,
            dtype=self.dtype,
            remat=remat,
        )

    def make(self, network: Any, trained: ModelSpec, **training: Any) -> temporal.TemporalTask:
        """What the network does; `training` are options of `tasks.temporal.make`."""
        return temporal.make(
            network,
            preprocessing=trained.preprocessing,
            loss=self.loss,
            cyclic=trained.info.cyclic,
            smooth=self.smooth,
            **training,
        )

    def footprint(self, trained: ModelSpec) -> int:
        """About how many numbers an answer takes, for bounds on what strangers wrote."""
        time = trained.image_shape[0]
        return math.prod(trained.image_shape) + time * (self.features + self.hidden) * self.smooth

    def init(self, key: Array, trained: ModelSpec) -> Weights:
        """Weights of one seed, before any training."""
        blank = jnp.zeros((1, 2, *trained.image_shape[1:]))
        made = self.network(trained).init(key, blank, jnp.array([2]), train=False)
        return made["params"], made.get("batch_stats", {})

    def ready(
        self, clip: Clip, trained: ModelSpec, *, case_id: str, wishes: ImageHints
    ) -> PreparedImage:
        """A sequence whose frames have the shape of the training's."""
        _, height, width, channels = trained.image_shape
        clip = clip._replace(frames=images.in_channels(clip.frames, trained.channels))
        if clip.frames.ndim != 4 or clip.frames.shape[-1] != channels:
            raise UserError(
                f"{case_id}: frames of {clip.frames.shape[-1]} channels, those of the "
                f"training had {channels}: convert it"
            )
        if len(clip.frames) < 2:
            raise UserError(f"{case_id}: has {len(clip.frames)} frame; a sequence has two or more")
        spacing = clip.spacing_mm or ((wishes.spacing_mm,) * 2 if wishes.spacing_mm else None)
        frames = placing.place_frames(
            clip.frames,
            spacing,
            shape=(height, width),
            grid_mm=trained.info.grid_mm,
            window=trained.window,
            origin=case_id,
        )
        # Up to the longest of the training all have one length, so that few programs compile.
        size = max(trained.image_shape[0], -(-len(frames) // 32) * 32)
        padded = np.pad(frames, [(0, size - len(frames)), *[(0, 0)] * 3])
        return PreparedImage(
            padded,
            case_id,
            {
                "marks": np.zeros((size, len(trained.info.frames)), np.uint8),
                "length": np.int32(len(frames)),
                "frame_ms": np.float64(wishes.frame_ms or clip.frame_ms or self.frame_ms or np.nan),
            },
        )

    def read(
        self, path: Path, trained: ModelSpec, *, case_id: str, wishes: ImageHints
    ) -> list[PreparedImage]:
        """The sequences of a file or folder: each plane of a 4-D volume is one."""
        planes = files.planes(path)
        return [
            self.ready(
                files.read(path, plane=z, limit_bytes=wishes.limit_bytes),
                trained,
                wishes=wishes,
                case_id=f"{case_id}:{z}" if planes > 1 else case_id,
            )
            for z in range(planes)
        ]

    def from_array(
        self, image: np.ndarray, trained: ModelSpec, wishes: ImageHints = NO_HINTS
    ) -> PreparedImage:
        """Frames `[time, height, width, channel]`, or of one channel `[time, height, width]`."""
        frames = image if image.ndim == 4 else image[..., None]
        return self.ready(Clip(frames), trained, case_id="sequence", wishes=wishes)

    def answers(
        self, trained: ModelSpec, *, batch: int
    ) -> Callable[[Weights, Split], list[FrameAnswer]]:
        """The compiled function from weights and sequences to answers, by the seeds' mean score."""
        predict = program(self.make(self.network(trained), trained))

        def answer(weights: Weights, split: Split) -> list[FrameAnswer]:
            score = scores(predict, weights, split, batch=batch, seeds=trained.seeds).mean(0)
            predictions = temporal_report.of_split(
                split, trained.info.frames, score, task=self.task, cyclic=trained.info.cyclic
            )
            return [
                FrameAnswer(
                    case,
                    predictions.names,
                    predictions.chosen[i],
                    predictions.score[i, : predictions.length[i]],
                    float(predictions.frame_ms[i]),
                )
                for i, case in enumerate(predictions.case_id)
            ]

        return answer

    def function(self, trained: ModelSpec) -> tuple[Callable, dict[str, str]]:
        """`(params, stats, frames, length)`, of all seeds, to the scores of frames, and the shapes
        of its inputs."""
        task = self.make(self.network(trained), trained)
        return step.mean_of_seeds(task.predict), {
            "frames": symbols(trained.image_shape),
            "length": "b",
        }

    def draw(self, path: Path, image: np.ndarray, answer: FrameAnswer) -> None:
        """The scores over the sequence, and the frames that were found."""
        temporal_plot.plot_scores(
            path,
            image[: len(answer.score)],
            answer.names,
            answer.frame,
            answer.score,
            title=answer.case_id,
        )


def program(task: temporal.TemporalTask) -> Callable[..., Array]:
    """The compiled prediction of all seeds: `[seeds, batch, time, name]`."""
    return jax.jit(step.over_seeds(task.predict, (0, 0, None, None)))


def scores(
    predict: Callable[..., Array], weights: Weights, split: Split, *, batch: int, seeds: int
) -> np.ndarray:
    """Those of every sequence once, in order: `[seeds, cases, time, name]`, NaN beyond buckets."""
    size = split.image_shape[0]
    score = np.full((seeds, len(split), *split["marks"].shape[1:]), np.nan)
    for bound, rows in buckets(split["length"], size=size):
        parts = [(rows[index], valid) for index, valid in feed.padded(len(rows), batch=batch)]

        def run(number: int, parts=parts, bound=bound) -> np.ndarray:
            part = split.batch(parts[number][0], ("length",))
            part = mesh.spread({**part, "image": part["image"][:, :bound]})
            return np.asarray(predict(*weights, part["image"], part["length"]))

        for outputs, (index, valid) in zip(mesh.everywhere(run, len(parts)), parts, strict=True):
            score[:, index[valid], :bound] = outputs[:, valid]
    return score


def buckets(length: np.ndarray, *, size: int, count: int = 4) -> Iterator[tuple[int, np.ndarray]]:
    """Sequences of about one length together, so that few shapes compile: the shape, and which."""
    bounds = np.unique(np.ceil(size * np.arange(1, count + 1) / count).astype(int))
    number = np.searchsorted(bounds, length)
    for i, bound in enumerate(bounds):
        if (number == i).any():
            yield int(bound), np.flatnonzero(number == i)


def ensemble(by_seed: list[SequencePredictions]) -> SequencePredictions:
    """The ensemble: the mean of the seeds' scores."""
    return by_seed[0]._replace(score=np.mean([e.score for e in by_seed], axis=0))

"""Sequences made ready for a network, and the frames that it finds."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from medjax.data import images, placing, walk
from medjax.data.dataset import Split
from medjax.data.sequences import files
from medjax.data.sequences.case import Clip
from medjax.errors import UserError
from medjax.outputs.base import (
    NO_HINTS,
    ImageHints,
    Input,
    ModelSpec,
    PreparedImage,
    image_input,
)
from medjax.outputs.frames import plot
from medjax.outputs.frames.report import SequencePredictions
from medjax.typing import Json


class FrameTime(Protocol):
    """What a predictor of frames knows of time.

    Attributes:
      frame_ms: from one frame to the next, where files do not tell it; 0: not known.
    """

    frame_ms: float


class FrameAnswer(NamedTuple):
    """The frames of one sequence.

    Attributes:
      names: `n` of them.
      frame: the number of the frame with the highest score, from 0: `[n]`.
      score: `[time, n]`, as the network gives it.
      frame_ms: from one frame to the next; NaN where not known.
    """

    case_id: str
    names: tuple[str, ...]
    frame: np.ndarray
    score: np.ndarray
    frame_ms: float

    def rows(self) -> list[Json]:
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

    def further_rows(self) -> dict[str, list[Json]]:
        """Every frame."""
        return {
            "scores.csv": [
                {"case_id": self.case_id, "frame": t, **dict(zip(self.names, s, strict=True))}
                for t, s in enumerate(self.score.tolist())
            ]
        }

    def files(self) -> dict[tuple[str, str], Any]:
        """No files of its own."""
        return {}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The scores over the sequence, and the frames that were found."""
        frames = image[: len(self.score)]
        plot.plot_scores(path, frames, self.names, self.frame, self.score, title=self.case_id)


def answers_of(predictions: SequencePredictions, split: Split) -> list[FrameAnswer]:
    """One answer a case."""
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


def inputs(spec: ModelSpec) -> list[Input]:
    """The frames, and how many they are."""
    shape = " x ".join(map(str, spec.image_shape))
    text = f"sequences of {shape} {spec.image_dtype}, any number, black behind their end"
    return [
        image_input(spec)._replace(name="frames", text=text),
        Input("length", "length", "b", "int32", "their lengths, int32"),
    ]


def list_files(root: Path, spec: ModelSpec) -> tuple[list[Path], Mapping[str, int]]:
    """Files that are sequences, and folders of pictures, of which each is one; pictures beside a
    video or volume are none of its frames."""
    paths, left_out = walk.find(root, files.is_sequence)
    pictures = set(walk.find(root, lambda p: images.suffix(p) in images.PICTURES).files)
    with_videos = {p.parent for p in set(paths) - pictures}
    single = pictures - set(paths)
    folders = {p.parent for p in single} - with_videos
    others = Counter({k: n for k, n in left_out.items() if k not in images.PICTURES})
    others.update(images.suffix(p) for p in single if p.parent in with_videos)
    return walk.in_order({p for p in paths if p.parent not in folders} | folders), others


def prepare(
    clip: Clip, predictor: FrameTime, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> PreparedImage:
    """A sequence whose frames have the shape of the training's."""
    _, height, width, channels = spec.image_shape
    clip = clip._replace(
        frames=images.match_channels(clip.frames, hints.channels or spec.channels, count=channels)
    )
    if clip.frames.ndim != 4 or clip.frames.shape[-1] != channels:
        raise UserError(
            f"{case_id}: frames of {clip.frames.shape[-1]} channels, those of the training had "
            f"{channels}: convert it"
        )
    if len(clip.frames) < 2:
        raise UserError(f"{case_id}: has {len(clip.frames)} frame; a sequence has two or more")
    spacing = clip.spacing_mm or ((hints.spacing_mm,) * 2 if hints.spacing_mm else None)
    frames = placing.place_frames(
        clip.frames,
        spacing,
        shape=(height, width),
        grid_mm=spec.info.grid_mm,
        window=spec.window,
        origin=case_id,
    )
    # Up to the longest of the training all have one length, so that few programs compile.
    size = max(spec.image_shape[0], -(-len(frames) // 32) * 32)
    padded = np.pad(frames, [(0, size - len(frames)), *[(0, 0)] * 3])
    return PreparedImage(
        padded,
        case_id,
        {
            "marks": np.zeros((size, len(spec.info.frames)), np.uint8),
            "length": np.int32(len(frames)),
            "frame_ms": np.float64(clip.frame_ms or hints.frame_ms or predictor.frame_ms or np.nan),
        },
    )


def read(
    path: Path, predictor: FrameTime, spec: ModelSpec, *, case_id: str, hints: ImageHints
) -> list[PreparedImage]:
    """The sequences of a file or folder: each plane of a 4-D volume is one."""
    planes = files.planes(path)
    return [
        prepare(
            files.read(path, plane=z, limit_bytes=hints.limit_bytes),
            predictor,
            spec,
            hints=hints,
            case_id=f"{case_id}:{z}" if planes > 1 else case_id,
        )
        for z in range(planes)
    ]


def from_array(
    image: np.ndarray, predictor: FrameTime, spec: ModelSpec, *, hints: ImageHints = NO_HINTS
) -> PreparedImage:
    """Frames `[time, height, width, channel]`, or of one channel `[time, height, width]`."""
    frames = image if image.ndim == 4 else image[..., None]
    return prepare(Clip(frames), predictor, spec, case_id="sequence", hints=hints)

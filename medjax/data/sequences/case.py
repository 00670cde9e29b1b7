"""One sequence with the frames that matter in it, its source, and the set it belongs to."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data import table
from medjax.data.info import DatasetInfo
from medjax.errors import UserError


class Clip(NamedTuple):
    """The frames of a sequence as they are stored.

    Attributes:
      frames: `[time, height, width, channel]`.
      spacing_mm: of a pixel, height and width, where the file tells it.
      frame_ms: from one frame to the next, where the file tells it.
    """

    frames: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    frame_ms: float | None = None


class SequenceCase(NamedTuple):
    """One sequence, before its frames are read.

    Attributes:
      read: the frames.
      length: how many they are.
      marks: the 0-based numbers of the frames that have each name.
      subject: empty where nothing says who it is.
      frame_ms: where it is known other than from the file.
      path: the file or folder; None where it is made.
    """

    read: Callable[[], Clip]
    length: int
    origin: str
    case_id: str
    subject: str
    split: str | None
    marks: Mapping[str, Sequence[int]]
    frame_ms: float | None = None
    metadata: Mapping[str, str] = {}
    path: Path | None = None


class SequenceSet(NamedTuple):
    """The cases, and the frame that every one is brought to where no other is asked for.

    Attributes:
      shape: height and width; () is that of the first case.
      grid_mm: size of a pixel then; 0: each frame is scaled to fit.
      known_by: how subjects are known, where a table says it; see `subjects.resolve`. A set whose
        `info` says it knows them all.
      notes: what is worth knowing about it.
    """

    info: DatasetInfo
    cases: list[SequenceCase]
    shape: tuple[int, ...] = ()
    grid_mm: float = 0.0
    known_by: str = ""
    notes: tuple[str, ...] = ()


def check(case: SequenceCase) -> None:
    """Raises UserError unless the marks lie in a sequence of two or more frames."""
    if case.length < 2:
        raise UserError(f"{case.origin}: has {case.length} frame; a sequence has two or more")
    for name, frames in case.marks.items():
        for frame in frames:
            if not 0 <= frame < case.length:
                raise UserError(
                    f"{case.origin}: {name} at frame {frame}, but the sequence has the "
                    f"frames 0 to {case.length - 1}"
                )
    if not any(len(frames) for frames in case.marks.values()):
        raise UserError(f"{case.origin}: no frame of it is named; name one, or leave it out")


def whole_number(text: str, *, origin: str) -> int:
    """Raises UserError if the text is no whole number."""
    try:
        return int(text)
    except (TypeError, ValueError):
        raise UserError(f"{origin}: {text!r} is no whole number of a frame") from None


def milliseconds(text: str | None, *, origin: str) -> float | None:
    """From one frame to the next; None for an empty text."""
    return table.positive(text, origin=origin, what="milliseconds a frame")


def read_key_values(path: Path) -> dict[str, str]:
    """A file of `key: value` lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            rows = [row for row in csv.reader(f, delimiter=":") if len(row) == 2]
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(f"{path}: unreadable ({e})") from None
    return {key.strip(): value.strip() for key, value in rows}

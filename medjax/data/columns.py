"""Targets and names of a prepared set, apart from its images: opening one reads no pixels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NAME = "columns.npz"
_TEXTS = ("case_id", "subject_id", "digest", "metadata")


class SplitColumns(NamedTuple):
    """What a split has beside its images.

    Attributes:
      targets: by name `[n, ...]`.
      texts: `case_id`, `subject_id`, `digest` and `metadata` (JSON), `[n]` each.
    """

    targets: dict[str, np.ndarray]
    texts: dict[str, list[str]]


def collect(rows: Sequence[Mapping[str, Any]]) -> SplitColumns:
    """The columns of examples, whose images are left out."""
    return SplitColumns(
        {k: np.array([row[k] for row in rows]) for k in rows[0] if k not in (*_TEXTS, "image")},
        {k: [_text(row[k]) for row in rows] for k in _TEXTS},
    )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def write(folder: Path, splits: Mapping[str, SplitColumns]) -> None:
    """Writes those of all splits into one file."""
    arrays = {f"{split}/{k}": v for split, part in splits.items() for k, v in part.targets.items()}
    names = {split: [list(part.targets), part.texts] for split, part in splits.items()}
    texts = json.dumps(names).encode()
    np.savez(folder / NAME, allow_pickle=False, texts=np.frombuffer(texts, np.uint8), **arrays)


def read(folder: Path) -> dict[str, SplitColumns] | None:
    """Those of each split; None where there is no such file, or it is damaged."""
    try:
        with np.load(folder / NAME, allow_pickle=False) as file:
            splits = json.loads(file["texts"].tobytes())
            return {
                split: SplitColumns({name: file[f"{split}/{name}"] for name in names}, texts)
                for split, (names, texts) in splits.items()
            }
    except Exception:  # a damaged archive is told of by errors of a dozen kinds
        return None

"""TensorBoard and Weights & Biases: scalars while a run trains, its figures and numbers at the end.

Both are extras: `pip install 'medjax[tensorboard]'`, `'medjax[wandb]'`.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medjax.errors import UserError
from medjax.typing import Json, JsonView


class Tracker(Protocol):
    """Where a run is shown while it trains."""

    def write(self, step: int, values: JsonView) -> None:
        """What a line of `metrics.jsonl` has."""

    def finish(self, numbers: dict[str, float], figures: Sequence[Path]) -> None:
        """The final numbers and figures."""

    def close(self) -> None: ...


def _import_extra(option: str, package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"`{option}` needs the package {package}: pip install 'medjax[{option}]'"
        ) from None


def _numbers(values: JsonView) -> dict[str, float]:
    return {
        name: float(v)
        for name, v in values.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v)
    }


class TensorBoard:
    """Event files in the folder `tensorboard` of the work directory."""

    def __init__(self, workdir: Path):
        module = _import_extra("tensorboard", "tensorboardX")
        self._writer = module.SummaryWriter(str(workdir / "tensorboard"))

    def write(self, step: int, values: JsonView) -> None:
        for name, value in _numbers(values).items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, numbers: dict[str, float], figures: Sequence[Path]) -> None:
        from PIL import Image

        for name, value in numbers.items():
            self._writer.add_scalar(f"report/{name}", value, 0)
        for path in figures:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image(f"figures/{path.stem}", pixels, 0, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of W&B; where and whether it is sent is W&B's own setting (WANDB_MODE=offline)."""

    def __init__(self, workdir: Path, config: Json):
        self._wandb = _import_extra("wandb", "wandb")
        self._run = self._wandb.init(
            project="medjax", name=workdir.name, dir=str(workdir), config=config
        )

    def write(self, step: int, values: JsonView) -> None:
        self._run.log(_numbers(values), step=step)

    def finish(self, numbers: dict[str, float], figures: Sequence[Path]) -> None:
        self._run.summary.update({f"report/{name}": v for name, v in numbers.items()})
        self._run.log({f"figures/{p.stem}": self._wandb.Image(str(p)) for p in figures})

    def close(self) -> None:
        self._run.finish()


def check_trackers(*, tensorboard: bool, wandb: bool) -> None:
    """Raises UserError if one is asked for that is not installed; the extra is named."""
    for wished, option, package in (
        (tensorboard, "tensorboard", "tensorboardX"),
        (wandb, "wandb", "wandb"),
    ):
        if wished:
            _import_extra(option, package)


def open_trackers(workdir: Path, config: Json, *, tensorboard: bool, wandb: bool) -> list[Tracker]:
    """Those that are asked for."""
    trackers: list[Tracker] = []
    if tensorboard:
        trackers.append(TensorBoard(workdir))
    if wandb:
        trackers.append(WeightsAndBiases(workdir, config))
    return trackers

"""A network over a volume by windows: medjax against MONAI's sliding window.

    python -m benchmarks.window --torch_python=/path/to/python

Windows share half of a side and are blended by a Gaussian, as in nnU-Net; a step is the mask of the
volume, from an array of the host to one. Both sides have the U-Net of `train_step`, MONAI eager and
by torch.compile, all in float32, one window at a time.
"""

import dataclasses
import sys

from benchmarks import learner
from benchmarks.cases import Job
from benchmarks.race import race_and_report
from medjax import app
from medjax.config import option
from medjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    side: int = option(256, "of the volume")
    window: int = option(128, "of a window")
    repeats: int = option(5, "repetitions, of which the median is reported")
    native: bool = option(False, "also with the convolutions of medjax build")
    compile: bool = option(True, "MONAI by torch.compile too")
    device: str = option("cpu", "where both run", choices=("cpu", "gpu"))
    torch_python: str = option("", "interpreter that has monai; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if not 32 <= config.window <= config.side or config.window % 16 or config.repeats < 1:
        raise UserError("--window: a multiple of 16 from 32 to --side; --repeats: at least 1")
    job = Job(f"{config.side} {config.window}", 1, "float32", config.device, "predict")
    python = config.torch_python or sys.executable
    ours = (sys.executable, "benchmarks._worker_window_jax")
    workers = {"medjax": ours, "MONAI": (python, "benchmarks._worker_window_torch")}
    if config.native:
        workers["medjax, built"] = (*ours, learner.NATIVE)
    if config.compile:
        workers["MONAI, torch.compile"] = (*workers["MONAI"], "--compile")
    race_and_report(
        f"{config.window}^3 windows over {config.side}^3",
        workers,
        job,
        updates=1,
        repeats=config.repeats,
        path=config.json,
    )


if __name__ == "__main__":
    app.run(main, Config)

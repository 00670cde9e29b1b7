"""Where the time of medjax's side goes: the dearest operations of an update or a forward pass.

    python -m benchmarks.profile --case=resnet18_28
    python -m benchmarks.profile --case=sononet16 --mode=predict --native=false
    python -m benchmarks.profile --case=deep_q

The same table as `--profile` of an experiment; each operation's rate beside the machine's peak.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from benchmarks import learner, sides
from benchmarks.cases import CASES, Job
from medjax import app
from medjax.config import option
from medjax.experiment.profiling import profile_update

_DEEP_Q = Job("45,4", 8, "float32", "cpu")  # as `search --mode=update`


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    case: str = option("resnet18_28", "network and input", choices=(*CASES, "deep_q"))
    mode: str = option("train", "an update, or a forward pass", choices=("train", "predict"))
    native: bool = option(True, "with the convolutions of `medjax build`")
    folder: str = option("runs/profile", "where the trace is written", path=True)


def main(config: Config) -> None:
    if config.native:
        sys.argv.append(learner.NATIVE)  # as a worker is asked for it
    side = _make_side(config)

    def update(count: int) -> float:
        for _ in range(count):
            side.advance(1)
        return side.wait()

    profile_update(Path(config.folder), side.program, update, side.about["compile_seconds"])


def _make_side(config: Config) -> Any:
    if config.case == "deep_q":
        from benchmarks._worker_search_jax import Medjax as DeepQ

        return DeepQ(_DEEP_Q)
    from benchmarks._worker_jax import Medjax, Predictor

    job = Job(config.case, CASES[config.case].batch, "float32", "cpu", config.mode)
    kind: type[sides.Trainer] = Predictor if config.mode == "predict" else Medjax
    return kind(job)  # type: ignore[call-arg]


if __name__ == "__main__":
    app.run(main, Config)

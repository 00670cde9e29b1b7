"""Convolutions on a CPU: those of medjax, of XLA and of PyTorch, in one run.

    python -m benchmarks.conv --case=depthwise_3 --torch_python=/path/to/python

A step is a forward pass with both gradients; of medjax and XLA in a compiled loop, as training has
them. `medjax, built` is with the convolutions of `medjax build`. The sides take turns.
"""

import dataclasses
import sys

from benchmarks import learner
from benchmarks.cases import Job
from benchmarks.convolutions import CONVOLUTIONS
from benchmarks.race import race_and_report
from medjax import app
from medjax.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    case: str = option("plane_64", "which convolution", choices=tuple(CONVOLUTIONS))
    updates: int = option(3, "steps in one repetition")
    repeats: int = option(5, "repetitions, of which the median is reported")
    xla: bool = option(True, "also time XLA's own, which takes long")
    torch_python: str = option("", "interpreter that has torch; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    case, ours = CONVOLUTIONS[config.case], (sys.executable, "benchmarks._worker_conv_jax")
    race_and_report(
        f"convolution {config.case} with both gradients",
        {
            "medjax": ours,
            "medjax, built": (*ours, learner.NATIVE),
            **({"XLA": (*ours, "xla")} if config.xla else {}),
            "PyTorch": (config.torch_python or sys.executable, "benchmarks._worker_conv_torch"),
        },
        Job(config.case, case.images[0], "float32", "cpu"),
        updates=config.updates,
        repeats=config.repeats,
        path=config.json,
    )


if __name__ == "__main__":
    app.run(main, Config)

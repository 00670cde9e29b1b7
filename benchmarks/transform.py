"""A random affine and elastic transform of volumes: medjax against MONAI and TorchIO, on a CPU.

    python -m benchmarks.transform --torch_python=/path/to/python

medjax moves the image and 32 landmarks, by the inverse of the same field, in one program; MONAI's
Rand3DElastic and TorchIO's RandomAffine with RandomElasticDeformation move the image alone. All
interpolate linearly and repeat the border. A step is the whole batch; the sides take turns.
"""

import dataclasses
import sys

from benchmarks.cases import Job
from benchmarks.race import race_and_report
from medjax import app
from medjax.config import option
from medjax.errors import UserError

PEERS = {"MONAI Rand3DElastic": "monai", "TorchIO affine + elastic": "torchio"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    side: int = option(96, "of the volumes")
    batch: int = option(4, "volumes a step")
    updates: int = option(2, "steps in one repetition")
    repeats: int = option(7, "repetitions, of which the median is reported")
    device: str = option(
        "cpu", "where medjax runs; TorchIO knows the CPU only", choices=("cpu", "gpu")
    )
    torch_python: str = option("", "interpreter that has monai and torchio; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.side, config.batch, config.updates, config.repeats) < 1:
        raise UserError("--side, --batch, --updates and --repeats must be at least 1")
    job = Job(str(config.side), config.batch, "float32", config.device)
    python = config.torch_python or sys.executable
    race_and_report(
        f"affine + elastic, batch {config.batch} of {config.side}^3",
        {
            "medjax": (sys.executable, "benchmarks._worker_transform_jax"),
            **{
                name: (python, "benchmarks._worker_transform_torch", peer)
                for name, peer in PEERS.items()
            },
        },
        job,
        updates=config.updates,
        repeats=config.repeats,
        path=config.json,
    )


if __name__ == "__main__":
    app.run(main, Config)

"""A random affine and elastic transform of volumes: medjax against MONAI and TorchIO, on a CPU.

    python -m benchmarks.transform --torch_python=/path/to/python

medjax moves the image and 32 landmarks, by the inverse of the same field, in one program; MONAI's
Rand3DElastic and TorchIO's RandomAffine with RandomElasticDeformation move the image alone. All
interpolate linearly and repeat the border. A step is the whole batch; the sides take turns.
"""

import dataclasses
import sys
from contextlib import ExitStack, closing
from functools import partial

from benchmarks import common
from benchmarks.cases import Job
from benchmarks.common import Row
from benchmarks.sides import Side, SideError
from medjax import app
from medjax.errors import UserError

option = app.option
PEERS = {"MONAI Rand3DElastic": "monai", "TorchIO affine + elastic": "torchio"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    side: int = option(96, "of the volumes")
    batch: int = option(4, "volumes a step")
    updates: int = option(2, "steps in one repetition")
    repeats: int = option(7, "repetitions, of which the median is reported")
    device: str = option("cpu", "where medjax runs; TorchIO knows the CPU only",
                         choices=("cpu", "gpu"))
    torch_python: str = option("", "interpreter that has monai and torchio; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.side, config.batch, config.updates, config.repeats) < 1:
        raise UserError("--side, --batch, --updates and --repeats must be at least 1")
    job = Job(str(config.side), config.batch, "float32", config.device)
    busy, failed = common.busy_cores(), []
    python = config.torch_python or sys.executable
    with ExitStack() as stack:
        try:
            sides = {"medjax": stack.enter_context(
                closing(Side(sys.executable, "benchmarks._worker_transform_jax", job)))}
        except SideError as e:
            raise UserError(f"medjax: {e}") from None
        for name, peer in PEERS.items():
            try:
                sides[name] = stack.enter_context(closing(
                    Side(python, "benchmarks._worker_transform_torch", job, peer)))
            except SideError as e:
                failed.append(Row(name, failed=str(e)))
        runs = {name: partial(side.seconds, 1, config.updates) for name, side in sides.items()}
        found = common.take_turns(runs, repeats=config.repeats)
    rows = [Row(name, seconds, sides[name].about["compile_seconds"])
            for name, seconds in found.items()]
    versions = {k: v for side in sides.values() for k, v in side.about["versions"].items()}
    common.report(f"affine + elastic, batch {config.batch} of {config.side}^3, {config.repeats} "
                  "repetitions", rows + failed, busy=busy, versions=versions, path=config.json,
                  device=sides["medjax"].about["device"])


if __name__ == "__main__":
    app.run(main, Config)

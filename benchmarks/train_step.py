"""One training step, or one forward pass, of a ResNet or U-Net, medjax against PyTorch.

    python -m benchmarks.train_step --case=resnet18_28
    python -m benchmarks.train_step --case=resnet18_3d --torch_python=/path/to/python
    python -m benchmarks.train_step --case=unet_3d --mode=predict
    python -m benchmarks.train_step --case=sononet16 --mode=predict
    python -m benchmarks.train_step --case=resnet50_224 --device=gpu --dtype=bfloat16

`medjax, built` is with the convolutions of `medjax build`. The sides take turns, so a machine that
slows down slows both. Compiling is told of apart: for medjax, tracing and compiling one program
that serves any number of updates; for `torch.compile`, its first step. Batches lie on the device.
Weights stay float32 under bfloat16.

Let nothing else run. PyTorch's OpenMP threads spin while they wait for one another: beside a
program that held a core, a step took up to twelve times as long as under OMP_WAIT_POLICY=PASSIVE.
"""

import dataclasses
import subprocess
import sys
from contextlib import ExitStack, closing
from functools import partial

from benchmarks import common, learner
from benchmarks.cases import CASES, Job
from benchmarks.common import Row
from benchmarks.sides import Side, SideError
from medjax import app
from medjax.config import option
from medjax.errors import UserError

_TORCH = {"PyTorch eager": (), "PyTorch torch.compile": ("--compile",)}
_MISSING = """from importlib.util import find_spec
print(*[name for name in ('torch', 'monai') if not find_spec(name)])"""


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    case: str = option("resnet18_28", "network and input", choices=tuple(CASES))
    mode: str = option("train", "an update, or a forward pass", choices=("train", "predict"))
    batch: int = option(0, "examples a step; 0: as the case has it")
    updates: int = option(0, "steps in one repetition; 0: as the case has it")
    repeats: int = option(7, "repetitions, of which the median is reported")
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    device: str = option("cpu", "where", choices=("cpu", "gpu"))
    torch_python: str = option("", "interpreter that has torch and monai; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.batch, config.updates, config.repeats - 1) < 0:
        raise UserError("--batch and --updates must not be negative, --repeats at least 1")
    case = CASES[config.case]
    job = Job(config.case, config.batch or case.batch, config.dtype, config.device, config.mode)
    busy = common.busy_cores()
    with ExitStack() as stack:
        medjax = start_medjax(job, stack)
        others, failed = start_native(job, stack)
        torch, failed_torch = start_torch(job, config.torch_python or sys.executable, stack)
        others |= torch
        failed += failed_torch
        check_parameters(medjax, others)
        rows = measure(
            medjax, others, updates=config.updates or case.updates, repeats=config.repeats
        )
    versions = {
        k: v for side in (medjax, *others.values()) for k, v in side.about["versions"].items()
    }
    shape = "x".join(map(str, case.shape))
    common.report(
        f"{config.case}, {config.mode}: batch {job.batch} of {shape}, {config.dtype}, "
        f"{medjax.about['parameters']:,} parameters, {config.repeats} repetitions",
        rows + failed,
        busy=busy,
        versions=versions,
        path=config.json,
        device=medjax.about["device"],
    )


def start_medjax(job: Job, stack: ExitStack) -> Side:
    """Raises UserError if medjax cannot run."""
    print("medjax: building and compiling", flush=True)
    try:
        return stack.enter_context(closing(Side(sys.executable, "benchmarks._worker_jax", job)))
    except SideError as e:
        raise UserError(f"medjax: {e}") from None


def start_native(job: Job, stack: ExitStack) -> tuple[dict[str, Side], list[Row]]:
    """medjax with the convolutions of `medjax build`, or a row that says why there is none."""
    name = "medjax, built"
    if job.device != "cpu":
        return {}, []
    try:
        side = Side(sys.executable, "benchmarks._worker_jax", job, learner.NATIVE)
        return {name: stack.enter_context(closing(side))}, []
    except SideError as e:
        return {}, [Row(name, failed=str(e))]


def start_torch(job: Job, python: str, stack: ExitStack) -> tuple[dict[str, Side], list[Row]]:
    """The sides of PyTorch that run, and a row for each that does not."""
    if absent := missing(python):
        print(
            f"PyTorch is not timed: {python} has no {absent}; name another interpreter with "
            "--torch_python",
            flush=True,
        )
        return {}, []
    sides, failed = {}, []
    for name, options in _TORCH.items():
        print(f"{name}: building", flush=True)
        try:
            side = Side(python, "benchmarks._worker_torch", job, *options)
            sides[name] = stack.enter_context(closing(side))
        except SideError as e:
            failed.append(Row(name, failed=str(e)))
    return sides, failed


def missing(python: str) -> str:
    """What the interpreter lacks.

    Raises:
      UserError: if it is no interpreter.
    """
    try:
        return (
            subprocess.run([python, "-c", _MISSING], capture_output=True, text=True, check=True)
            .stdout.strip()
            .replace(" ", " and no ")
        )
    except (OSError, subprocess.CalledProcessError):
        raise UserError(f"--torch_python={python}: not a Python interpreter") from None


def check_parameters(medjax: Side, others: dict[str, Side]) -> None:
    """Prints the number of parameters of each side; raises UserError unless all are equal."""
    counts = {
        "medjax": medjax.about["parameters"],
        **{name: side.about["parameters"] for name, side in others.items()},
    }
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    print(f"parameters: {shown}", flush=True)
    if len(set(counts.values())) > 1:
        raise UserError(f"the networks differ: {shown}")


def measure(medjax: Side, others: dict[str, Side], *, updates: int, repeats: int) -> list[Row]:
    """Times all sides in turn; raises UserError if one fails on the way."""
    many = {f"medjax, {updates} updates a call": (medjax, 1, updates)} if updates > 1 else {}
    names = {
        **many,
        "medjax, 1 update a call": (medjax, updates, 1),
        **{name: (side, 1, updates) for name, side in others.items()},
    }
    runs = {
        name: partial(side.seconds, calls, count) for name, (side, calls, count) in names.items()
    }
    print(f"timing {repeats} repetitions of {updates} steps", flush=True)
    try:
        found = common.take_turns(runs, repeats=repeats)
    except SideError as e:
        raise UserError(f"a side failed while it was timed: {e}") from None
    return [
        Row(name, seconds, names[name][0].about["compile_seconds"])
        for name, seconds in found.items()
    ]


if __name__ == "__main__":
    app.run(main, Config)

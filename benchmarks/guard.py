"""Repeats the ratios of `benchmarks/ratios.json`, and says which fell by more than a fifth.

    python -m benchmarks.guard --torch_python=/path/to/python
    python -m benchmarks.guard --torch_python=/path/to/python --record

A ratio is the other side's time over that of medjax, both measured in one run: above 1 medjax is
faster. By hand, on an idle machine, after `medjax build`; a ratio of another processor says little,
so each machine has its own. Exit code 1 if one fell.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import common
from medjax import app
from medjax.config import option
from medjax.errors import ExitError, UserError
from medjax.evaluation import report
from medjax.train.record import write_json

RATIOS = Path(__file__).with_name("ratios.json")
_FALL = 0.8  # of what was recorded


class Check(NamedTuple):
    """A benchmark's flags, and the two of its rows that are held against each other."""

    program: str
    flags: str
    side: str
    other: str


CHECKS = {
    "ResNet-18 step": Check(
        "train_step", "--case=resnet18_28 --updates=2", "medjax, built", "PyTorch eager"
    ),
    "SonoNet-16 forward": Check(
        "train_step",
        "--case=sononet16 --mode=predict --updates=4",
        "medjax, built",
        "PyTorch eager",
    ),
    "3-D U-Net step": Check(
        "train_step", "--case=unet_3d --updates=1", "medjax, built", "PyTorch eager"
    ),
    "deep Q update": Check("search", "--mode=update", "medjax, built", "PyTorch eager"),
    "64 agents": Check(
        "search", "--agents=64", "environment alone, 64 agents", "NumPy, one agent at a time"
    ),
    "4,096 agents": Check(
        "search", "--agents=4096", "environment alone, 4096 agents", "NumPy, one agent at a time"
    ),
    "depthwise 3": Check("conv", "--case=depthwise_3 --xla=false", "medjax, built", "PyTorch"),
    "depthwise 5": Check("conv", "--case=depthwise_5 --xla=false", "medjax, built", "PyTorch"),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    repeats: int = option(5, "repetitions, of which the median is taken")
    torch_python: str = option("", "interpreter that has torch and monai; empty: this one")
    record: bool = option(False, "write the ratios down for this processor")


def main(config: Config) -> None:
    busy = common.busy_cores()
    if busy > common.BUSY:
        raise UserError(f"others keep {busy} cores busy: such ratios are not to be trusted")
    known = json.loads(RATIOS.read_text()) if RATIOS.exists() else {}
    processor = str(common.machine()["cpu"])
    before = known.get(processor, {})
    now = {name: round(measure(check, config), 3) for name, check in CHECKS.items()}
    fell = [name for name, ratio in now.items() if ratio < _FALL * before.get(name, 0.0)]
    report.show(
        f"other / medjax, {processor}",
        ("benchmark", "recorded", "now", ""),
        [
            (
                name,
                f"{before[name]:.2f}" if name in before else "-",
                f"{ratio:.2f}",
                "fell" if name in fell else "",
            )
            for name, ratio in now.items()
        ],
    )
    if config.record:
        write_json(RATIOS, {**known, processor: now})
    elif fell:
        raise ExitError(1)


def measure(check: Check, config: Config) -> float:
    """The ratio of a benchmark that is run anew.

    Raises:
      UserError: if it or one of its sides fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.json"
        command = [sys.executable, "-m", f"benchmarks.{check.program}", *check.flags.split()]
        command += [f"--repeats={config.repeats}", f"--json={path}"]
        command += [f"--torch_python={config.torch_python}"] if config.torch_python else []
        print(" ".join(command[1:]), flush=True)
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise UserError(f"{check.program}: {done.stderr.strip().splitlines()[-1]}")
        rows = {row["side"]: row for row in json.loads(path.read_text())["rows"]}
    times = []
    for side in (check.other, check.side):
        row = next((r for name, r in rows.items() if name.startswith(side)), {"failed": "absent"})
        if "failed" in row:
            raise UserError(f"{check.program}: {side}: {row['failed']}")
        times.append(row["median_seconds"])
    return times[0] / times[1]


if __name__ == "__main__":
    app.run(main, Config)

"""An experiment as a Slurm job that is requeued and goes on when it is pre-empted or out of time.

    python -m launch.slurm --nodes=2 --tasks_per_node=4 --gpus_per_task=1 --time=8:00:00 -- \
      python -m experiments.classify --batch=512 --workdir=runs/big
    python -m launch.slurm --print -- python -m experiments.classify --workdir=runs/big

It calls `sbatch` with `launch/job.sbatch`, which can as well be used by hand. The work directory
must lie where all nodes see it; the log is `runs/slurm/JOB.log`.
"""

import dataclasses
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from medjax import app
from medjax.config import option
from medjax.errors import UserError

SCRIPT = Path(__file__).with_name("job.sbatch")


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a job asks Slurm for; empty and 0 leave it to the cluster."""

    nodes: int = option(1, "machines")
    tasks_per_node: int = option(1, "processes on each; one a GPU, or one for all of them")
    gpus_per_task: int = option(0, "GPUs of each process")
    cpus_per_task: int = option(0, "processor cores of each process")
    memory_gb: int = option(0, "of each machine")
    time: str = option("", "limit, as 8:00:00 or 2-00:00:00; the job goes on after it")
    partition: str = option("", "queue")
    account: str = option("", "who pays")
    setup: str = option("", "shell commands before it: module load ...; source .venv/bin/activate")
    logs: str = option("runs/slurm", "folder of the logs", path=True)
    print: bool = option(False, "print the sbatch command, submit nothing")


@dataclasses.dataclass(frozen=True)
class Config(Resources):
    """The settings; the fields are flags. What follows -- is the command."""

    files: tuple[str, ...] = option((), "the command that each process runs", positional=True)


def main(config: Config) -> None:
    if not config.files:
        raise UserError(
            "give the command after --, as in: -- python -m experiments.classify --workdir=runs/big"
        )
    if not any(a.startswith("--workdir=") for a in config.files):
        raise UserError("give the experiment a --workdir that all nodes see")
    submit(config, config.files)


def submit(
    resources: Resources, command: Sequence[str], *, commands: Path | None = None, array: int = 0
) -> None:
    """Submits the command, or each line of the file `commands` as one task of an array."""
    for name in ("nodes", "tasks_per_node"):
        if getattr(resources, name) < 1:
            raise UserError(f"--{name}={getattr(resources, name)}: must be at least 1")
    call = [
        "sbatch",
        *flags(resources),
        *([f"--array=1-{array}"] if array else []),
        str(SCRIPT),
        *command,
    ]
    environment = {"MEDJAX_SETUP": resources.setup} if resources.setup else {}
    environment |= {"MEDJAX_COMMANDS": str(commands.resolve())} if commands else {}
    if resources.print:
        print(
            " ".join([*(f"{k}={shlex.quote(v)}" for k, v in environment.items()), shlex.join(call)])
        )
        return
    if shutil.which("sbatch") is None:
        raise UserError(
            "no sbatch here; run this on a login node of the cluster, or see the command by --print"
        )
    Path(resources.logs).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        call, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"sbatch: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    print(done.stdout.strip())


def flags(resources: Resources) -> list[str]:
    """Those of sbatch."""
    wanted = {
        "nodes": resources.nodes,
        "ntasks-per-node": resources.tasks_per_node,
        "gpus-per-task": resources.gpus_per_task,
        "cpus-per-task": resources.cpus_per_task,
        "mem": f"{resources.memory_gb}G" if resources.memory_gb else "",
        "time": resources.time,
        "partition": resources.partition,
        "account": resources.account,
        "output": f"{resources.logs}/%j.log",
    }
    return [f"--{name}={value}" for name, value in wanted.items() if value]


if __name__ == "__main__":
    app.run(main, Config)

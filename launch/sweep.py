"""Many runs of one experiment, and which settings were best.

A flag that is given several times takes several values; all combinations are run, or with
`--random=20` so many drawn at random, then also from ranges (`1e-4~1e-2`, even in the logarithm):

    medjax sweep --workdir=runs/sweep -- classify --model=cnn --model=mlp
      --learning_rate=1e-3 --learning_rate=3e-3 --seed=0 --seed=1

Runs that differ in the seed alone, and by one, are one program (`--seeds=3`); so are, up to
`--together` of them, those that differ in learning rate and weight decay alone
(`--learning_rates=1e-3,3e-3`). `--where=slurm` submits the others as an array, `--where=print`
prints the commands. Stopped and started again it skips what is done. At the end stand a table,
`sweep.csv` and `sweep.png`.
"""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax import app
from medjax.config import option
from medjax.data import table
from medjax.errors import UserError
from medjax.evaluation import report
from medjax.evaluation.plot import new_figure, plain_numbers
from medjax.train.record import write_json, write_table

from . import points, slurm
from .points import Point, values_of_flag


@dataclasses.dataclass(frozen=True)
class Config(slurm.Resources):
    """The settings; the fields are flags. What follows -- is the experiment and its flags."""

    files: tuple[str, ...] = option(
        (), "the experiment and its flags, those to vary several times", positional=True
    )
    workdir: str = option("runs/sweep", "where the runs and the table are written", path=True)
    where: str = option(
        "local", "here, as a Slurm array, or only printed", choices=("local", "slurm", "print")
    )
    jobs: int = option(0, "local: so many at once; 0: one a GPU, or one")
    together: int = option(
        4,
        "at most so many learning rates and weight decays are tried by one "
        "program; 1: each by its own",
    )
    random: int = option(0, "so many combinations drawn at random; 0: all")
    draw_seed: int = option(0, "draws them")


def main(config: Config) -> None:
    if not config.files or not config.files[0].split("=")[0].replace(".", "").isalpha():
        raise UserError("name the experiment after --, as in: -- classify --model=cnn --model=mlp")
    if min(config.jobs, config.random) < 0 or config.together < 1:
        raise UserError("--jobs and --random must not be negative, --together at least 1")
    experiment, *flags = config.files
    values = points.parse(flags)
    every = (
        points.drawn(values, count=config.random, seed=config.draw_seed)
        if config.random
        else list(points.grid(values))
    )
    points.check(experiment, every)
    programs = points.merge_rates(points.merge_seeds(every), at_most=config.together)
    varied = [name for name, given in values.items() if len(given) > 1 or points.is_range(given[0])]
    runs = points.named(programs, varied)
    folder = Path(config.workdir)
    if config.where == "print":
        print(
            "\n".join(
                shlex.join(command(experiment, point, folder / name))
                for name, point in runs.items()
            )
        )
        return
    keep_record(folder, experiment, runs)
    waiting = [name for name in runs if not is_done(folder / name)]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done")
    commands = {name: command(experiment, runs[name], folder / name) for name in waiting}
    if config.where == "slurm":
        submit(config, folder, list(commands.values()))
    else:
        run_all(commands, folder, jobs=config.jobs or max(len(gpus()), 1))
    show(folder, {name: point for name, point in runs.items() if is_done(folder / name)}, varied)


def command(experiment: str, point: Point, workdir: Path) -> list[str]:
    """What is run."""
    return [
        sys.executable,
        "-m",
        "medjax",
        experiment.removeprefix("experiments."),
        *points.as_flags(point),
        f"--workdir={workdir}",
    ]


def keep_record(folder: Path, experiment: str, runs: Mapping[str, Point]) -> None:
    """Writes down what each run is; raises UserError if one that is done was another, since it
    would stand in the table for this one."""
    path = folder / "sweep.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    now = {name: [experiment, *sorted(points.as_flags(runs[name]))] for name in runs}
    for name, call in now.items():
        if is_done(folder / name) and before.get(name, call) != call:
            differ = sorted(set(before[name]) ^ set(call))
            raise UserError(
                f"{folder / name}: is of a sweep with other settings ({', '.join(differ)}); "
                "choose another --workdir"
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {**before, **now})


def is_done(workdir: Path) -> bool:
    return (workdir / "report.json").exists()


def gpus() -> list[str]:
    """Those that we may use, without starting JAX here: it would take their memory."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return [d.strip() for d in shown.split(",") if d.strip()]
    return [str(i) for i, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def submit(config: Config, folder: Path, commands: Sequence[Sequence[str]]) -> None:
    """One array, a task a run."""
    if not commands:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"commands_{time.time_ns()}.txt"  # an array that still waits reads its own
    file.write_text("".join(shlex.join(c) + "\n" for c in commands))
    slurm.submit(config, [], commands=file, array=len(commands))
    print("start this again when they have ended, for the table")


def run_all(commands: Mapping[str, Sequence[str]], folder: Path, *, jobs: int) -> None:
    """So many at a time, each on a GPU of its own where there are some; logs lie beside the runs.

    Stopped by a signal, it stops them; each saves, and goes on when the sweep does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, count, began, stopped = list(commands), len(commands), time.monotonic(), False
    running: dict[str, tuple[subprocess.Popen, int]] = {}

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        for process, _ in running.values():
            process.terminate()

    before = [signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)]
    failed = []
    while running or (waiting and not stopped):
        while waiting and len(running) < jobs and not stopped:
            name = waiting.pop(0)
            slot = min(set(range(jobs)) - {s for _, s in running.values()})
            running[name] = (_start(commands[name], folder / f"{name}.log", slot), slot)
        time.sleep(0.2)
        for name, (process, _) in list(running.items()):
            if process.poll() is not None:
                del running[name]
                ended = count - len(waiting) - len(running)
                left = (time.monotonic() - began) / ended * (count - ended)
                outcome = "done" if is_done(folder / name) else "stopped" if stopped else "FAILED"
                failed += [name] if outcome == "FAILED" else []
                minutes = f"about {left / 60:.0f} min left"
                print(f"{ended}/{count}  {name}: {outcome}; {minutes}", flush=True)
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    if stopped:
        raise UserError("stopped; the same command goes on")
    if failed:
        print(f"{len(failed)} failed; see {folder / failed[0]}.log", file=sys.stderr)


def _start(command: Sequence[str], log: Path, slot: int) -> subprocess.Popen:
    mine = {"CUDA_VISIBLE_DEVICES": gpus()[slot % len(gpus())]} if len(gpus()) > 1 else {}
    with log.open("a") as f:
        return subprocess.Popen(
            command,
            stdout=f,
            stderr=subprocess.STDOUT,
            env={**os.environ, **mine},
            start_new_session=True,
        )


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      run: the folder; of several settings in one program it holds the best of them.
      shown: the flags that vary.
      value: on validation, NaN where undefined; seconds: of the whole program.
      kept: whether the folder holds this setting.
    """

    run: str
    shown: dict[str, str]
    value: float
    seconds: float
    kept: bool


def rows_of(
    run: str, point: Point, run_report: Mapping[str, Any], varied: Sequence[str]
) -> list[Row]:
    """The lines of one program: one of each setting that it tried."""
    values = [c["value"] for c in run_report.get("choices", [run_report["validation"]])]

    def flag(name: str, number: int) -> str:
        given = values_of_flag(point, name)
        return given[number] if len(given) > 1 else given[0]

    return [
        Row(
            run,
            {name: flag(name, number) for name in varied},
            np.nan if value is None else value,
            run_report["train"]["seconds"],
            "choices" not in run_report or run_report["choice"] == number,
        )
        for number, value in enumerate(values)
    ]


def show(folder: Path, runs: Mapping[str, Point], varied: Sequence[str]) -> None:
    """The table, best first, and the plot. They are of validation: it chooses, test does not."""
    if not runs:
        return
    reports = {name: json.loads((folder / name / "report.json").read_text()) for name in runs}
    judge = next(iter(reports.values()))["validation"]
    if judge is None:
        raise UserError(
            f"{folder}: nothing was trained, and so validation has chosen nothing; the numbers are "
            "in the report of each run"
        )
    metric, sign = judge["metric"], -1 if judge["higher"] else 1
    rows = sorted(
        (
            row
            for name, point in runs.items()
            for row in rows_of(name, point, reports[name], varied)
        ),
        key=lambda row: (np.isnan(row.value), sign * row.value, not row.kept),
    )
    best = reports[rows[0].run]
    main_metric = metric if metric in best["metrics"] else next(iter(best["metrics"]))
    setting = ", ".join(f"{name} {value}" for name, value in rows[0].shown.items())
    notes = [
        f"the best one on {best['split']}: {main_metric} "
        f"{report.with_interval(report.estimate_of(best['metrics'][main_metric]))}",
        f"it has {setting}, and lies in {folder / rows[0].run}",
    ]
    if len(rows) > len(runs):
        notes.append("seconds: of the program, which several settings share")
    report.show(
        f"{len(rows)} settings in {len(runs)} runs, by {metric} on validation",
        [*varied, metric, "seconds"],
        [[*row.shown.values(), f"{row.value:.4f}", f"{row.seconds:.0f}"] for row in rows],
        notes,
    )
    write_table(
        folder / "sweep.csv",
        ["run", *varied, f"validation_{metric}"],
        ([row.run, *row.shown.values(), row.value] for row in rows),
    )
    columns = {v: [row.shown[v] for row in rows] for v in varied}
    draw(
        folder / "sweep.png",
        {v: c for v, c in columns.items() if len(set(c)) > 1},
        [row.value for row in rows],
        metric,
    )
    print(f"wrote {folder / 'sweep.csv'}\nwrote {folder / 'sweep.png'}")


def draw(
    path: Path, columns: Mapping[str, Sequence[str]], values: Sequence[float], metric: str
) -> None:
    """The metric over each flag that varies: a dot a setting, the best one filled."""

    def fill(figure: Any, axes: Any) -> None:
        for ax, (name, shown) in zip(axes[0], columns.items(), strict=True):
            number = all(table.is_number(v) for v in shown)
            known = sorted(set(shown), key=float if number else str)
            spread = number and len(known) > 4  # a range: on its own scale
            places = [float(v) if spread else known.index(v) for v in shown]
            ax.plot(places, values, "o", ms=5, mfc="none", mec="C0")
            ax.plot(places[0], values[0], "o", ms=5, color="C3")
            if spread:
                if min(map(float, known)) > 0:
                    ax.set_xscale("log")
                    plain_numbers(ax.xaxis)
            else:
                ax.set_xticks(range(len(known)), known)
                ax.set_xlim(-0.5, len(known) - 0.5)
            ax.set(xlabel=name)
        axes[0, 0].set(ylabel=f"{metric}, validation")

    if columns:
        new_figure(path, 1, len(columns), (2.6 * len(columns) + 0.6, 2.6), fill)


if __name__ == "__main__":
    app.run(main, Config)

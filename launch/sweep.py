"""Many runs of one experiment, and which settings were best.

A flag that is given several times takes several values; all combinations are run, or with
`--random=20` so many drawn at random, then also from ranges (`1e-4~1e-2`, even in the logarithm):

    python -m launch.sweep --workdir=runs/sweep -- experiments.classify \
      --model=cnn --model=mlp --learning_rate=1e-3 --learning_rate=3e-3 --seed=0 --seed=1 --seed=2

Runs that differ in the seed alone, and by one, are one program (`--seeds=3`). `--where=slurm`
submits the others as an array, `--where=print` prints the commands. Stopped and started again it
skips what is done. At the end stand a table, `sweep.csv` and `sweep.png`.
"""

import csv
import dataclasses
import importlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import slurm
from medjax import app, report
from medjax.errors import UserError
from medjax.plot import new_figure

option = app.option
Point = dict[str, str]  # the flags of one run


@dataclasses.dataclass(frozen=True)
class Config(slurm.Resources):
    """The settings; the fields are flags. What follows -- is the experiment and its flags."""

    files: tuple[str, ...] = option((), "the experiment and its flags, those to vary several times")
    workdir: str = option("runs/sweep", "where the runs and the table are written")
    where: str = option("local", "here, as a Slurm array, or only printed",
                        choices=("local", "slurm", "print"))
    jobs: int = option(0, "local: so many at once; 0: one a GPU, or one")
    random: int = option(0, "so many combinations drawn at random; 0: all")
    draw_seed: int = option(0, "draws them")


def main(config: Config) -> None:
    if not config.files or not config.files[0].startswith("experiments."):
        raise UserError("name the experiment after --, as in: -- experiments.classify "
                        "--model=cnn --model=mlp")
    if min(config.jobs, config.random) < 0:
        raise UserError("--jobs and --random must not be negative")
    experiment, *flags = config.files
    values = parse(experiment, flags)
    points = merge_seeds(drawn(config, values) if config.random else list(grid(values)))
    varied = [name for name, given in values.items() if len(given) > 1 or "~" in given[0]]
    runs = {name_of(point, varied): point for point in points}
    folder = Path(config.workdir)
    if config.where == "print":
        print("\n".join(shlex.join(command(experiment, point, folder / name))
                        for name, point in runs.items()))
        return
    waiting = [name for name in runs if not is_done(folder / name)]
    print(f"{len(runs)} runs, {len(runs) - len(waiting)} of them done")
    commands = {name: command(experiment, runs[name], folder / name) for name in waiting}
    if config.where == "slurm":
        submit(config, folder, list(commands.values()))
    else:
        run_all(commands, folder, jobs=config.jobs or max(len(gpus()), 1))
    show(folder, {name: point for name, point in runs.items() if is_done(folder / name)}, varied)


def parse(experiment: str, flags: Sequence[str]) -> dict[str, list[str]]:
    """The values of each flag, in the order given; each is tried on the experiment first."""
    try:
        module: Any = importlib.import_module(experiment)
    except ImportError:
        raise UserError(f"{experiment}: no such experiment") from None
    values: dict[str, list[str]] = {}
    for flag in flags:
        name, equal, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not equal:
            raise UserError(f"{flag!r}: flags are given as --name=value")
        if name in ("workdir", "seeds"):
            raise UserError(f"--{name}: the sweep gives it; for several seeds give --seed several "
                            "times")
        for part in value.split("~"):
            app.parse(module.Config, [experiment, f"--{name}={part}"], experiment)
        values.setdefault(name, []).append(value)
    if not values:
        raise UserError("give flags of the experiment, those to vary several times")
    return values


def grid(values: Mapping[str, Sequence[str]]) -> Iterator[Point]:
    """All combinations."""
    ranged = next((name for name, given in values.items() if any("~" in v for v in given)), None)
    if ranged is not None:
        raise UserError(f"--{ranged}: a range is for --random=N")
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def drawn(config: Config, values: Mapping[str, Sequence[str]]) -> list[Point]:
    """So many combinations at random, none twice; every seed that is given is run with each."""
    rng = np.random.default_rng(config.draw_seed)
    others = {name: given for name, given in values.items() if name != "seed"}
    points: list[Point] = []
    for _ in range(100 * config.random):
        point = {name: value(rng, str(rng.choice(list(given)))) for name, given in others.items()}
        if len(points) < config.random and point not in points:
            points.append(point)
    return [{**point, **({"seed": s} if s else {})} for point in points
            for s in values.get("seed", [""])]


def value(rng: np.random.Generator, given: str) -> str:
    """A value, or one from the range that it is."""
    low, is_range, high = given.partition("~")
    if not is_range:
        return given
    try:
        ends = float(low), float(high)
    except ValueError:
        raise UserError(f"{given!r}: a range is of two numbers, as 1e-4~1e-2") from None
    if not 0 < ends[0] < ends[1]:
        raise UserError(f"{given!r}: a range goes from a positive number to a larger one")
    return f"{np.exp(rng.uniform(*np.log(ends))):.3g}"


def merge_seeds(points: Sequence[Point]) -> list[Point]:
    """Runs that differ in the seed alone, and whose seeds follow one another, as one."""
    groups: dict[tuple, list[Point]] = {}
    for point in points:
        key = tuple((k, v) for k, v in point.items() if k != "seed")
        groups.setdefault(key, []).append(point)
    out: list[Point] = []
    for group in groups.values():
        seeds = sorted({int(p["seed"]) for p in group if "seed" in p})
        if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
            out.append({**group[0], "seed": str(seeds[0]), "seeds": str(len(seeds))})
        else:
            out += group
    return out


def name_of(point: Point, varied: Sequence[str]) -> str:
    """Of the folder of a run: what is special about it."""
    parts = [f"{name}-{point[name]}" for name in varied if name in point]
    text = "_".join(parts) or "run"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)[:150]


def command(experiment: str, point: Point, workdir: Path) -> list[str]:
    """What is run."""
    return [sys.executable, "-m", experiment, *(f"--{k}={v}" for k, v in point.items()),
            f"--workdir={workdir}"]


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
                how = "done" if is_done(folder / name) else "stopped" if stopped else "FAILED"
                failed += [name] if how == "FAILED" else []
                print(f"{ended}/{count}  {name}: {how}; about {left / 60:.0f} min left", flush=True)
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    if stopped:
        raise UserError("stopped; the same command goes on")
    if failed:
        print(f"{len(failed)} failed; see {folder / failed[0]}.log", file=sys.stderr)


def _start(command: Sequence[str], log: Path, slot: int) -> subprocess.Popen:
    mine = {"CUDA_VISIBLE_DEVICES": gpus()[slot % len(gpus())]} if len(gpus()) > 1 else {}
    with log.open("a") as f:
        return subprocess.Popen(command, stdout=f, stderr=subprocess.STDOUT,
                                env={**os.environ, **mine}, start_new_session=True)


def show(folder: Path, runs: Mapping[str, Point], varied: Sequence[str]) -> None:
    """The table, best first, and the plot. They are of validation: it chooses, test does not."""
    if not runs:
        return
    reports = {name: json.loads((folder / name / "report.json").read_text()) for name in runs}
    chosen = {name: found["validation"] for name, found in reports.items()}
    metric, sign = next(iter(chosen.values()))["metric"], -1 if next(iter(
        chosen.values()))["higher"] else 1
    value = {n: np.nan if c["value"] is None else c["value"] for n, c in chosen.items()}
    order = sorted(runs, key=lambda n: (np.isnan(value[n]), sign * value[n]))
    best = reports[order[0]]
    main_metric = metric if metric in best["metrics"] else next(iter(best["metrics"]))
    report.show(f"{len(runs)} runs, by {metric} on validation", [*varied, metric, "seconds"],
                [[*(_shown(runs[n], v) for v in varied), f"{value[n]:.4f}",
                  f"{reports[n]['train']['seconds']:.0f}"] for n in order],
                [f"the best one, {order[0]}, on {best['split']}: {main_metric} "
                 f"{report.with_interval(report.estimate_of(best['metrics'][main_metric]))}"])
    with (folder / "sweep.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["run", *varied, f"validation_{metric}"])
        rows.writerows([n, *(_shown(runs[n], v) for v in varied), value[n]] for n in order)
    columns = {v: [_shown(runs[n], v) for n in order] for v in varied}
    draw(folder / "sweep.png", {v: c for v, c in columns.items() if len(set(c)) > 1},
         [value[n] for n in order], metric)
    print(f"wrote {folder / 'sweep.csv'}\nwrote {folder / 'sweep.png'}")


def _shown(point: Point, name: str) -> str:
    if name == "seed" and "seeds" in point:
        return f"{point['seed']}..{int(point['seed']) + int(point['seeds']) - 1}"
    return point.get(name, "")


def draw(path: Path, columns: Mapping[str, Sequence[str]], values: Sequence[float], metric: str
         ) -> None:
    """The metric over each flag that varies: a dot a run, the best one filled."""
    def fill(figure: Any, axes: Any) -> None:
        for ax, (name, shown) in zip(axes[0], columns.items(), strict=True):
            number = all(_is_number(v) for v in shown)
            known = sorted(set(shown), key=float if number else str)
            spread = number and len(known) > 4  # a range: on its own scale
            places = [float(v) if spread else known.index(v) for v in shown]
            ax.plot(places, values, "o", ms=5, mfc="none", mec="C0")
            ax.plot(places[0], values[0], "o", ms=5, color="C3")
            if spread:
                ax.set_xscale("log" if min(map(float, known)) > 0 else "linear")
            else:
                ax.set_xticks(range(len(known)), known)
                ax.set_xlim(-0.5, len(known) - 0.5)
            ax.set(xlabel=name)
        axes[0, 0].set(ylabel=f"{metric}, validation")

    if columns:
        new_figure(path, 1, len(columns), (2.6 * len(columns) + 0.6, 2.6), fill)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    app.run(main, Config)

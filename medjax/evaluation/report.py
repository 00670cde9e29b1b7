"""What a run leaves behind: predictions, report and the table on the screen."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

import medjax
from medjax import native
from medjax.evaluation.stats import Estimate, holm
from medjax.progress import several
from medjax.train.record import write_json
from medjax.typing import Json, JsonView

_LEFT = (  # what a run leaves
    "report.html",
    "report.json",
    "predictions.csv",
    "metrics.jsonl",
    "figures/",
    "checkpoints/",
    "weights.safetensors",
)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def estimate_to_dict(estimate: Estimate) -> Json:
    """As the report has it: value, low, high; undefined where that is not zero, and the reason
    where there is no interval."""
    out: Json = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    out |= {"undefined": estimate.undefined} if estimate.undefined else {}
    return out | ({"reason": estimate.reason} if estimate.reason else {})


def estimate_of(entry: JsonView) -> Estimate:
    """The same, read."""
    value, low, high = (
        np.nan if entry.get(k) is None else float(entry[k]) for k in ("value", "low", "high")
    )
    return Estimate(value, low, high, entry.get("undefined", 0), entry.get("reason", ""))


def write(path: Path, result: JsonView) -> None:
    """Writes the report, its estimates as objects."""

    def convert(value: Any) -> Any:
        if isinstance(value, Estimate):
            return estimate_to_dict(value)
        if isinstance(value, list):
            return [convert(v) for v in value]
        return {k: convert(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    write_json(path, convert(result))


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {
        "medjax": medjax.__version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **({"convolutions": native.name_loaded()} if native.is_loaded() else {}),
    }


def device() -> str:
    """What the run computed on, in words."""
    import jax

    first = jax.devices()[0]
    name = f"{os.cpu_count()}-core {processor()}" if first.platform == "cpu" else first.device_kind
    return f"{jax.device_count()} x {name}" if jax.device_count() > 1 else name


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def show(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    notes: Sequence[str] = (),
    *,
    text: bool = False,
) -> None:
    """Prints a table whose columns line up, then notes; `text`: of words, not of numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_edge=False)
    for i, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if i and not text else "left"
        wraps = text and i > 0
        table.add_column(Text(column), justify=justify, no_wrap=not wraps, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # never markup: it may be of a stranger
    console = Console(width=None if os.isatty(1) else 140, highlight=False)
    if not text:  # of numbers nothing may be lost: a line runs on where the terminal is narrow
        needed = console.measure(table).maximum
        console = Console(width=max(needed, console.width), highlight=False)
    console.print(f"\n{title}\n", style="bold", soft_wrap=True, markup=False)
    console.print(table)
    console.print()
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)


def digits(value: float, *, count: int) -> str:
    """A number with so many digits that count, and without an exponent."""
    return np.format_float_positional(value, precision=count, fractional=False, trim="-")


def with_interval(estimate: Estimate) -> str:
    """`0.986 [0.979, 0.992]`."""
    if np.isnan(estimate.low):
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def show_choices(result: JsonView) -> None:
    """What was tried as one program, and how it was on validation."""
    metric, chosen = result["validation"]["metric"], result["chosen"]
    rows = [
        [
            *(f"{choice[name]:g}" for name in chosen),
            "undefined" if choice["step"] is None else f"{choice['value']:.4f}",
            "" if choice["step"] is None else str(choice["step"]),
        ]
        for choice in result["choices"]
    ]
    show(
        f"{len(rows)} settings tried, by {metric} on validation",
        [*chosen, metric, "at step"],
        rows,
        ["chosen: " + ", ".join(f"{k} {v:g}" for k, v in chosen.items())],
    )


def corrected(compared: Mapping[str, JsonView]) -> dict[str, Json]:
    """Comparisons with `p_holm` beside their `p_value`: corrected for how many they are."""
    p_values = holm([c["p_value"] for c in compared.values()])
    return {who: {**c, "p_holm": p} for (who, c), p in zip(compared.items(), p_values, strict=True)}


def reasons(estimates: Mapping[str, Estimate]) -> list[str]:
    """A line a reason why metrics have no interval, and which they are."""
    by: dict[str, list[str]] = {}
    for name, estimate in estimates.items():
        if estimate.reason:
            by.setdefault(estimate.reason, []).append(name)
    return [
        f"no interval, {reason}: " + ("all" if len(names) == len(estimates) else ", ".join(names))
        for reason, names in by.items()
    ]


def advise(result: JsonView) -> list[str]:
    """What would give numbers that are missing, or better ones."""
    estimates = {
        k: v if isinstance(v, Estimate) else estimate_of(v) for k, v in result["metrics"].items()
    }
    out = []
    can_fold = result.get("can_fold", True) and "folds" not in result
    if can_fold and any(e.reason.startswith("fewer than") for e in estimates.values()):
        out.append("with --folds=5 every subject is tested once, and so more intervals are known")
    first = next(iter(estimates))
    baseline, value = result["baseline"].get(first), estimates[first].value
    if first.startswith("error") and baseline is not None and value >= baseline:
        out.append(
            f"the baseline is better: {first} {baseline:.3f} against {value:.3f}; train longer, or "
            "look at the data"
        )
    return out


def population(result: JsonView) -> str:
    """`750 cases of 75 subjects`; of subjects only where they are known."""
    cases = f"{result['cases']} case{'s' * (result['cases'] != 1)}"
    if not result["subjects_known_by"]:
        return f"{cases}, each its own subject"
    return f"{cases} of {result['subjects']} subject{'s' * (result['subjects'] != 1)}"


def best_steps(result: JsonView) -> str:
    """That of the checkpoint, or those of all folds."""
    return ", ".join(map(str, result.get("best_steps", [result["best_step"]])))


def over(result: JsonView) -> str:
    """What intervals are over."""
    return (
        "subjects"
        if result["subjects_known_by"]
        else ("images, as subjects are not known: too narrow if some are of one person")
    )


def show_result(result: JsonView, workdir: Path, *, wrote: Sequence[str] = ()) -> None:
    """The table at the end of a run, and where things were written; `wrote` are further places."""
    many = len(result["seeds"]["each"]) > 1
    columns = ["metric", "value [95 % interval]", *(["mean of seeds"] if many else []), "baseline"]
    if "classes" in result:
        show_classes(result)
    if "choices" in result:
        show_choices(result)
    if "folds" in result:
        show_folds(result)
    rows = []
    for name, estimate in result["metrics"].items():
        mean = [with_interval(result["seeds"]["mean"][name])] if many else []
        rows.append([name, with_interval(estimate), *mean, f"{result['baseline'][name]:.3f}"])
    made = " (synthetic)" if result["synthetic"] else ""
    positive = result.get("positive")
    show(
        f"{result['dataset']}{made}, {result['split']}: {population(result)}; {result['of']}",
        columns,
        rows,
        [
            f"intervals: over {over(result)}"
            + ("; of the mean: Student's t over seeds" if many else ""),
            *reasons(result["metrics"]),
            *advise(result),
            *result.get("remarks", []),
            *([f"f1 and average_precision: of the class {positive}"] if positive else []),
            f"baseline: {result['baseline_is']}",
            f"{_training(result)}{result['device']}",
            "",
            *(f"wrote {workdir / name}" for name in (*_LEFT, *wrote) if (workdir / name).exists()),
            "",
            f"next: open {workdir / 'report.html'}; to use or share the network: medjax share make "
            f"{workdir} NAME.zip",
        ],
    )


def _training(result: JsonView) -> str:
    """The model, and how it was trained."""
    timing = {k: v if v is not None else np.nan for k, v in result["train"].items()}
    if not timing["steps"]:
        return f"{result['model']}, no network trained; "
    return (
        f"{result['model']}, {result['parameters']:,} parameters, best step {best_steps(result)}; "
        f"{_speed(timing, result['unit'])}"
    )


def _speed(timing: Mapping[str, float], unit: str) -> str:
    """Seconds, and how fast updates were, of a run that has trained in this sitting."""
    duration = f"{timing['seconds']:.0f} s in all"
    if not timing["examples_per_second"] > 0:  # nothing was trained now, or NaN
        return f"{duration}; "
    return (
        f"{duration}, {timing['compile_seconds']:.0f} s of it compiling, "
        f"{several(timing['examples_per_second'])} {unit}/s; "
    )


def show_folds(result: JsonView) -> None:
    """The metrics of each fold by itself."""
    folds = result["folds"]
    show(
        "each fold",
        ["metric", *(f"fold {i}" for i in range(len(folds)))],
        [[name, *(f"{fold[name].value:.3f}" for fold in folds)] for name in folds[0]],
    )


def show_classes(result: JsonView) -> None:
    """The table of the classes."""
    rows = result["classes"]
    columns = list(next(iter(rows.values())))
    show(
        "each class against the rest",
        ["class", *(c.replace("_", "\n") for c in columns)],
        [
            [
                name,
                *(f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in columns),
            ]
            for name, row in rows.items()
        ],
    )

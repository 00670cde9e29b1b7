"""Writes docs/results.md from docs/results/*.json, each of which has the numbers of one run.

python -m docs.write_results                                  # the page
python -m docs.write_results keep RUN NAME YYYY-MM-DD "TITLE"  # the numbers of a run, first
"""

import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from medjax.config import flatten_settings, list_settings, rename_formerly

HERE = Path(__file__).parent
FAMILIES = {
    "classify": "Classification",
    "transfer": "Transfer learning",
    "pretrain": "Pre-training",
    "retrieve": "Retrieval",
    "heatmap": "Landmarks by heatmaps",
    "search": "Landmark search",
    "segment": "Masks",
    "detect": "Boxes",
    "register": "Pairs",
    "temporal": "Frames of sequences",
}
_KEPT = ("dataset", "split", "synthetic", "cases", "subjects", "subjects_known_by", "model", "of")
_LINE = 96


def keep(run: Path, name: str, date: str, title: str) -> None:
    """Writes the numbers of a run into docs/results/NAME.json."""
    report = json.loads((run / "report.json").read_text())
    settings = json.loads((run / "config.json").read_text())
    row = {
        "family": settings["experiment"],
        "title": title,
        "command": command_of(settings),
        "date": date,
        "machine": f"{report['device']}, jax {report['versions']['jax']}"
        + ", after `medjax build`" * ("convolutions" in report["versions"]),
        "minutes": round(report["train"]["seconds"] / 60, 1),
        **{key: report[key] for key in _KEPT},
        "metrics": report["metrics"],
        "baseline": report["baseline"],
        "baseline_is": report["baseline_is"],
        "beside": {
            who: {"value": next(iter(row.values())), "metric": next(iter(row))}
            for who, row in report.get("beside", {}).items()
        },
        **({"arms": report["arms"]} if "arms" in report else {}),
    }
    (HERE / "results" / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")


def command_of(settings: dict[str, Any]) -> str:
    """The command line that a run's `config.json` comes from; folders of this machine left out."""
    config = importlib.import_module(f"experiments.{settings['experiment']}").Config()
    given = rename_formerly(config, settings)
    defaults = flatten_settings(config)
    words = [f"medjax {settings['experiment']}"]
    for leaf in list_settings(config):
        value = given.get(leaf.name, leaf.default)
        value = tuple(value) if isinstance(value, list) else value
        free = leaf.field.metadata["free"] and leaf.name != "data_dir"
        if free or value == defaults[leaf.name]:
            continue
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        shown = shown.lower() if value is True else shown
        shown = "RUN" if Path(shown).is_absolute() else shown  # no folder of this machine
        shown = "DIR" if leaf.name == "data_dir" else shown
        words.append(f"--{leaf.name}={shlex.quote(shown)}")
    return " ".join(words)


def write_page() -> str:
    """The page, from all files."""
    rows = [json.loads(path.read_text()) for path in sorted((HERE / "results").glob("*.json"))]
    parts = [
        "# Measured runs\n\nWritten by `python -m docs.write_results` from the files in "
        "`docs/results/`. Intervals hold 95 % and are over subjects. Where a row says "
        "validation, that split also chose the checkpoint, which flatters the numbers. Labels of "
        "a set that is called synthetic, and points that are called derived, were not made by a "
        "person: they stand beside no figure of a paper."
    ]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}")
        parts += [_section(row) for row in rows if row["family"] == family]
    return "\n\n".join(parts) + "\n"


def _section(row: dict[str, Any]) -> str:
    made = ", synthetic" if row["synthetic"] else ""
    count = f"{row['subjects']} subjects" if row["subjects_known_by"] else f"{row['cases']} images"
    baseline = row["baseline"]
    table = [
        "| metric | value | baseline |",
        "|---|---|---|",
        *(
            f"| {name} | {_estimate(e)} | {_number(baseline.get(name))} |"
            for name, e in row["metrics"].items()
        ),
    ]
    beside = [
        f"- {who}: {_estimate(e['value'])} ({e['metric']})" for who, e in row["beside"].items()
    ]
    facts = (
        f"{row['dataset']}{made}; {row['split']} split, {count}; {row['of']}. Baseline: "
        f"{row['baseline_is']}. Measured {row['date']}, {row['machine']}, {row['minutes']:g} "
        f"minutes.{' ' + row['note'] if row.get('note') else ''}"
    )
    code = "```bash\n" + _wrapped(row["command"]) + "\n```"
    arms = "\n".join(_arms(row["arms"])) if "arms" in row else ""
    blocks = [f"### {row['title']}", facts, "\n".join(table), arms, "\n".join(beside), code]
    return "\n\n".join(block for block in blocks if block)


_OF_ARMS = ("auc", "balanced_accuracy", "accuracy")  # that each arm is shown with


def _arms(arms: list[dict[str, Any]]) -> list[str]:
    """A table of all arms, a row each; means over seeds."""
    shown = [name for name in _OF_ARMS if name in arms[0]["metrics"]]
    head = ["training images a class", "arm", *shown, "seconds"]
    rows = [
        [
            arm["size"],
            arm["arm"],
            *(_estimate(arm["metrics"][name]) for name in shown),
            f"{arm['seconds']:.0f}",
        ]
        for arm in arms
    ]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _estimate(entry: dict[str, Any]) -> str:
    if entry.get("low") is None:
        return _number(entry["value"])
    return f"{_number(entry['value'])} [{_number(entry['low'])}, {_number(entry['high'])}]"


def _number(value: float | None) -> str:
    value = 0.0 if value is not None and abs(value) < 1e-9 else value
    return "" if value is None else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _wrapped(command: str) -> str:
    """A command in lines that end in a backslash."""
    lines = [""]
    for word in command.replace(" --", "\n--").split("\n"):  # a value may hold spaces
        if lines[-1] and len(lines[-1]) + len(word) > _LINE:
            lines.append(" ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        run, *words = sys.argv[2:]
        keep(Path(run), *words)
    (HERE / "results.md").write_text(write_page())

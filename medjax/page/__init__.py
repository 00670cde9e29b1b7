"""A run, or a comparison of runs, as one HTML file that needs nothing else: `report.html`.

A page is a function of the files in a work directory, so that it can be written again at any time,
and of a run that has not finished too.
"""

import base64
import csv
import functools
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import medjax
from medjax.errors import UserError
from medjax.evaluation import plot, report
from medjax.evaluation.stats import Estimate
from medjax.files import write_bytes
from medjax.train.record import read_lines, write_json
from medjax.typing import Json, JsonView

NAME = "report.html"
CAPTIONS = "captions.json"  # in the folder of the figures: what they show, and the worst cases
_SUFFIXES = {".png": "image/png", ".gif": "image/gif"}
_PANORAMA = 1.7  # from this ratio of its sides on a figure gets a row of its own
_BAR_WIDTH = 200  # of the drawing beside a number
_FEW_CASES = 10  # of a class, below which the page says so
_MOST_COLUMNS = 16  # of the rows of the worst cases


def write_run(workdir: Path, *, images: bool = True) -> Path:
    """Writes the page of the run in `workdir`, finished or not.

    Args:
      images: with the figures and cases that show images.

    Raises:
      UserError: if there is no run.
    """
    if (workdir / "config.json").exists() and not (workdir / "report.json").exists():
        _draw_progress(workdir)
    path = workdir / NAME
    write_bytes(path, render_run(workdir, images=images).encode())
    return path


def render_run(workdir: Path, *, images: bool = True) -> str:
    """The same, as text."""
    config = _read_object(workdir / "config.json")
    if not config:
        raise UserError(f"{workdir}: no run of medjax in it")
    result = _read_object(workdir / "report.json")
    pictures = _read_object(workdir / "figures" / CAPTIONS).get("pictures", [])
    there = [p for p in pictures if (workdir / "figures" / p["file"]).is_file()]
    shown = [p for p in there if images or not p["shows_images"]]
    page = {
        "version": result.get("versions", {}).get("medjax", medjax.__version__),
        "family": config.get("experiment", ""),
        "date": result.get("date", ""),
        "settings": [(k, _plain(v)) for k, v in result.get("settings", {}).items()],
        "command": result.get("command", ""),
        "figures": [_embedded(workdir, p) for p in shown if not p["case_id"]],
        "has_images": any(p["shows_images"] for p in shown),
        **_cases(workdir, [p for p in shown if p["case_id"]]),
        **(_finished(result) if result else _unfinished(workdir, config)),
    }
    return _template("run.html.j2").render(**page)


@functools.cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template(name: str) -> Any:
    environment = _environment()
    environment.globals.update(  # what only some pages have
        dict.fromkeys(
            ("unfinished", "headline", "cases", "tables", "data_rows", "citations", "population"),
            "",
        )
    )
    return environment.get_template(name)


def _read_object(path: Path) -> Json:
    """A JSON object; empty where there is none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _finished(result: JsonView) -> Json:
    """What the page says of a run that has its report."""
    chosen_by = (result.get("validation") or {}).get("metric")
    main = str(chosen_by if chosen_by in result["metrics"] else next(iter(result["metrics"])))
    return {
        "title": f"{_data_name(result)}: {result['model']}",
        "population": f"{result['split']} split: {report.population(result)}; {result['of']}",
        "headline": _headline(main, result),
        "baseline_is": result["baseline_is"],
        "has_seeds": len(result["seeds"]["each"]) > 1,
        "rows": [_row(name, result) for name in result["metrics"]],
        "warnings": _warnings(result),
        "remarks": [
            f"Intervals are over {report.over(result)}. Each drawn line has a scale of its own.",
            *report.reasons({k: report.estimate_of(v) for k, v in result["metrics"].items()}),
        ],
        "definitions": result["definitions"],
        "tables": _tables(result),
        **_data(result),
        "made": _made(result),
        "citations": [
            line
            for line in (
                f"The medjax developers: medjax, a JAX research library for medical images, version "
                f"{result['versions']['medjax']}, 2026.",
                (result.get("data") or {}).get("citation"),
            )
            if line
        ],
    }


def _warnings(result: JsonView) -> list[str]:
    """What a reader should know before believing the numbers."""
    out = []
    if not result["subjects_known_by"]:
        out.append(
            "Subjects are not known: each image counts as its own. If some are of one person, "
            "intervals are too narrow, and one person may be in training and test."
        )
    if result["metrics"].get("auc", {}).get("value") in (1.0, 1):
        out.append(
            "A perfect score is more often a leak than a success: look for images of one person, or "
            "marks of one scanner, in training and test."
        )
    counts = (result.get("data") or {}).get("splits", {}).get(result["split"], {})
    few = {k: n for k, n in counts.items() if k not in ("cases", "subjects") and n < _FEW_CASES}
    if few:
        shown = ", ".join(f"{name} {count}" for name, count in few.items())
        out.append(f"Few cases of a class in the split that is reported: {shown}.")
    return out


def _data_name(result: JsonView) -> str:
    return result["dataset"] + (" (synthetic)" if result["synthetic"] else "")


def _headline(name: str, result: JsonView) -> Json:
    estimate = report.estimate_of(result["metrics"][name])
    has_interval = not math.isnan(estimate.low)
    return {
        "name": name,
        "value": _number(estimate.value),
        "interval": f"95 % interval {_number(estimate.low)} to {_number(estimate.high)}"
        if has_interval
        else f"no interval: {estimate.reason or 'undefined'}",
        "baseline": _number(result["baseline"].get(name)),
    }


def _row(name: str, result: JsonView) -> Json:
    estimate = report.estimate_of(result["metrics"][name])
    baseline = result["baseline"].get(name)
    mean = result["seeds"]["mean"].get(name)
    return {
        "name": name,
        "shown": report.with_interval(estimate),
        "mean": report.with_interval(report.estimate_of(mean)) if mean else "",
        "baseline": _number(baseline),
        "bar": draw_bar(estimate, baseline=baseline),
    }


def draw_bar(
    estimate: Estimate, *, baseline: float | None = None, around_zero: bool = False
) -> Json | None:
    """Where value, interval and baseline lie on a line of 200: from zero, or around it."""
    known = [
        v
        for v in (estimate.value, estimate.low, estimate.high, baseline)
        if v is not None and math.isfinite(v)
    ]
    reach = max(map(abs, known), default=0.0) * (1.05 if around_zero or max(known) > 1 else 1)
    if not reach:
        return None
    top = reach if around_zero or max(known) > 1 else 1.0
    low_end = -top if around_zero or min(known) < 0 else 0.0

    def place(value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return round((value - low_end) / (top - low_end) * _BAR_WIDTH, 1)

    return {
        "value": place(estimate.value),
        "low": place(estimate.low),
        "high": place(estimate.high),
        "baseline": place(baseline),
        "zero": place(0.0) if low_end < 0 else None,
    }


def _tables(result: JsonView) -> list[Json]:
    """Of classes or landmarks, each a row, where the report has them."""
    out = []
    for key, title in (("classes", "Each class against the rest"), ("landmarks", "Each landmark")):
        rows = result.get(key)
        if isinstance(rows, dict) and rows:
            columns = list(next(iter(rows.values())))
            shown = [[name, *(_cell(row.get(c)) for c in columns)] for name, row in rows.items()]
            out.append({"title": title, "columns": [title.split()[1], *columns], "rows": shown})
    return out


def _data(result: JsonView) -> Json:
    data = result.get("data")
    if not data:
        return {}
    splits = data["splits"]
    names = list(dict.fromkeys(k for s in splits.values() for k in s))
    return {
        "data_facts": [
            (k, v)
            for k, v in (
                ("modality", data["modality"]),
                ("image", data["image"]),
                ("subjects", result["subjects_known_by"] or "not known: each image is its own"),
                ("licence", data["licence"]),
            )
            if v
        ],
        "data_columns": ["", *splits],
        "data_rows": [[name, *(part.get(name, "") for part in splits.values())] for name in names],
        "notes": result["notes"],
    }


def _made(result: JsonView) -> list[tuple[str, Any]]:
    train, versions = result["train"], result["versions"]
    return [
        ("device", result["device"]),
        ("training", f"{train['steps']} steps, {train['seconds']:.0f} s"),
        ("best step", f"{result['best_step']}, by {(result['validation'] or {}).get('metric')}"),
        ("parameters", f"{result['parameters']:,}"),
        ("weights, sha256", result["weights_sha256"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]


def _draw_progress(workdir: Path) -> None:
    """The learning curve of a run that has no figures yet."""
    lines = read_lines(workdir / "metrics.jsonl")
    names = [n for line in lines for n in line if n.startswith("validation_")]
    score = next((n for n in names if n != "validation_loss"), "")
    if not score:
        return
    folder = workdir / "figures"
    folder.mkdir(exist_ok=True)
    file, text = "learning_curve.png", "Loss of training and validation, and the metric there."
    plot.learning_curve(folder / file, lines, score=score.removeprefix("validation_"), unit="loss")
    picture = {"file": file, "text": text, "shows_images": False, "case_id": ""}
    write_json(folder / CAPTIONS, {"pictures": [picture]})


def _unfinished(workdir: Path, config: JsonView) -> Json:
    lines = read_lines(workdir / "metrics.jsonl")
    step = lines[-1]["step"] if lines else 0
    return {
        "title": config.get("dataset") or config.get("experiment", "run"),
        "unfinished": f"It has reached step {step} of {config.get('steps', '?')}; numbers and "
        "figures of the test cases come at its end.",
        "made": [("last logged step", step)],
    }


def _embedded(workdir: Path, picture: JsonView) -> Json:
    from PIL import Image

    path = workdir / "figures" / picture["file"]
    with Image.open(path) as image:
        panorama = image.width > _PANORAMA * image.height
    return {**picture, "source": embed(path), "panorama": panorama}


def _cases(workdir: Path, worst: Sequence[JsonView]) -> Json:
    """The worst cases, and their rows in `predictions.csv`."""
    if not worst:
        return {}
    with (workdir / "predictions.csv").open(newline="") as f:
        header, *rows = csv.reader(f)
    return {
        "cases": [_embedded(workdir, case) for case in worst],
        "wide_cases": any(case["wide"] for case in worst),
        "case_columns": header[:_MOST_COLUMNS],
        "case_rows": [
            {"line": c["line"], "cells": [_cell(v) for v in rows[c["line"] - 2][:_MOST_COLUMNS]]}
            for c in worst
        ],
    }


def embed(path: Path) -> str:
    """A picture as a data URL."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_SUFFIXES[path.suffix]};base64,{content}"


def _number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


def _cell(value: Any) -> str:
    """A cell of a table: numbers with three decimals, words as they are."""
    if value is None:
        return ""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{number:.3f}" if number % 1 else f"{number:.0f}"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


class Compared(NamedTuple):
    """A metric of two runs.

    Attributes:
      metric: its name; a, b: its values.
      difference: b - a, with its interval; p_value, p_holm: of the paired test.
    """

    metric: str
    a: float
    b: float
    difference: Estimate
    p_value: float
    p_holm: float


def write_comparison(
    path: Path, *, names: Sequence[str], population: str, rows: Sequence[Sequence[Compared]]
) -> None:
    """Writes the page of several runs: the first against each of the others.

    Args:
      names: of the runs, A first; population: what was compared, in words.
      rows: for each other run, its metrics.
    """
    letters = [_letter(i) for i in range(len(names))]
    pairs = [
        {
            "letter": letter,
            "rows": [_compared_row(row) for row in part],
            "notes": report.reasons({row.metric: row.difference for row in part}),
        }
        for letter, part in zip(letters[1:], rows, strict=True)
    ]
    page = _template("comparison.html.j2").render(
        version=medjax.__version__,
        date=time.strftime("%Y-%m-%d"),
        names=list(zip(letters, names, strict=True)),
        population=population,
        pairs=pairs,
        tests=sum(map(len, rows)),
    )
    write_bytes(path, page.encode())


def _letter(index: int) -> str:
    """A to Z, then 27, 28, ..."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def _compared_row(row: Compared) -> Json:
    low, high = row.difference.low, row.difference.high
    interval = "" if math.isnan(low) else f" [{low:+.4f}, {high:+.4f}]"
    return {
        "name": row.metric,
        "a": f"{row.a:.4f}",
        "b": f"{row.b:.4f}",
        "difference": f"{row.difference.value:+.4f}{interval}",
        "p": f"{row.p_value:.4f}",
        "p_holm": f"{row.p_holm:.4f}",
        "bar": draw_bar(row.difference, around_zero=True),
    }

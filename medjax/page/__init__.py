"""A run, or a comparison of runs, as one HTML file that needs nothing else: `report.html`.

A page is a function of the files in a work directory, so that it can be written again at any time,
and of a run that has not finished too.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import medjax
from medjax.errors import UserError
from medjax.evaluation import plot
from medjax.files import read_table, write_bytes
from medjax.page.comparison import Compared, write_comparison
from medjax.page.parts import cell, embed, load_template, plain_value
from medjax.page.result import describe_result
from medjax.train.record import read_lines, write_json
from medjax.typing import Json, JsonView

__all__ = ["CAPTIONS", "NAME", "Compared", "render_run", "write_comparison", "write_run"]
NAME = "report.html"
CAPTIONS = "captions.json"  # in the folder of the figures: what they show, and the worst cases
_PANORAMA = 1.7  # from this ratio of its sides on a figure gets a row of its own
_NAMES = ("case_id", "subject_id", "fixed", "moving")  # columns that are no numbers
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
        "settings": [(k, plain_value(v)) for k, v in result.get("settings", {}).items()],
        "command": result.get("command", ""),
        "figures": [_embedded(workdir, p) for p in shown if not p["case_id"]],
        "has_images": any(p["shows_images"] for p in shown),
        **_cases(workdir, [p for p in shown if p["case_id"]]),
        **(describe_result(result) if result else _unfinished(workdir, config)),
    }
    return load_template("run.html.j2").render(**page)


def _read_object(path: Path) -> Json:
    """A JSON object; empty where there is none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


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
    header, *rows = read_table(workdir / "predictions.csv")
    names = {i for i, column in enumerate(header) if column in _NAMES}

    def show_row(row: Sequence[str]) -> list[str]:
        return [v if i in names else cell(v) for i, v in enumerate(row[:_MOST_COLUMNS])]

    return {
        "cases": [_embedded(workdir, case) for case in worst],
        "wide_cases": any(case["wide"] for case in worst),
        "case_columns": header[:_MOST_COLUMNS],
        "case_rows": [{"line": c["line"], "cells": show_row(rows[c["line"] - 2])} for c in worst],
    }

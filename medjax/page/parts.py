"""Numbers, cells and drawings of a page."""

import base64
import functools
import math
import re
from pathlib import Path
from typing import Any

from medjax.evaluation import report
from medjax.evaluation.stats import Estimate
from medjax.typing import Json

_BAR_WIDTH = 200  # of the drawing beside a number
_SUFFIXES = {".png": "image/png", ".gif": "image/gif"}


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


def load_template(name: str) -> Any:
    environment = _environment()
    environment.globals.update(  # what only some pages have
        dict.fromkeys(
            ("unfinished", "headline", "cases", "tables", "data_rows", "citations", "population"),
            "",
        )
    )
    return environment.get_template(name)


def embed(path: Path) -> str:
    """A picture as a data URL."""
    return embed_bytes(path.read_bytes(), kind=_SUFFIXES[path.suffix])


def embed_bytes(content: bytes, *, kind: str = "image/png") -> str:
    """The contents of a picture as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def draw_bar(
    estimate: Estimate, *, baseline: float | None = None, around_zero: bool = False
) -> Json | None:
    """Where value, interval and baseline lie on a line of 200: from zero, or around it."""
    known = [
        v
        for v in (estimate.value, estimate.low, estimate.high, baseline)
        if v is not None and math.isfinite(v)
    ]
    if not known:
        return None
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


def number(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.3f}"


_FRACTION = re.compile(r"-?\d+(\.\d+|(\.\d+)?e[+-]?\d+)")  # but no name such as 016 or 12_3


def cell(value: Any) -> str:
    """A cell of a table: numbers with three decimals, words as they are."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"{float(value):.3f}" if _FRACTION.fullmatch(value) else value
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def plain_value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def show_estimate(estimate: Estimate) -> str:
    """`0.986 [0.979, 0.992]`, or that it is undefined."""
    return "undefined" if math.isnan(estimate.value) else report.with_interval(estimate)

"""The pages of an index of cases: what queries find, and the one that is served."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import medjax
from medjax.files import write_bytes
from medjax.page.parts import load_template
from medjax.typing import Json

_MOST_CHOICES = 24  # values that a list to choose from has
FOLDER = Path(__file__).parent / "templates"


class ShownCase(NamedTuple):
    """A case on a page: its name, its picture as a data URL, and lines that tell of it."""

    name: str
    picture: str
    lines: Sequence[str] = ()


class ShownQuery(NamedTuple):
    """An image, and the cases that look like it."""

    name: str
    picture: str
    cases: Sequence[ShownCase]


def write_similar(path: Path, *, name: str, population: str, queries: Sequence[ShownQuery]) -> None:
    """Writes a page that shows what some images look like, in an index of this name."""
    page = load_template("similar.html.j2").render(
        version=medjax.__version__,
        date=time.strftime("%Y-%m-%d"),
        name=name,
        population=population,
        queries=queries,
    )
    write_bytes(path, page.encode())


def render_index(
    *, name: str, cases: str, distance: str, facts: Mapping[str, Mapping[str | float, int]]
) -> str:
    """The page that takes an image and filters.

    Args:
      name: of the index; cases: how many, in words; distance: by which they are compared.
      facts: how many cases have which metadata, by name and value.
    """
    filters = [_filter_of(key, values) for key, values in sorted(facts.items())]
    return load_template("index.html.j2").render(
        version=medjax.__version__,
        name=name,
        cases=cases,
        distance=distance,
        filters=[f for f in filters if f],
    )


def _filter_of(name: str, values: Mapping[str | float, int]) -> Json | None:
    """Values to choose from, or a range of numbers; None of texts that differ from case to case."""
    numbers = [v for v in values if not isinstance(v, str)]
    if len(values) <= _MOST_CHOICES and len(numbers) < len(values):
        ordered = sorted(values.items(), key=lambda item: str(item[0]))
        return {"name": name, "choices": [(plain_fact(v), n) for v, n in ordered]}
    if not numbers:
        return None
    low, high = plain_fact(min(numbers)), plain_fact(max(numbers))
    return {"name": name, "choices": [], "low": low, "high": high}


def plain_fact(value: str | float) -> str:
    """A metadata as text: numbers without needless digits."""
    return value if isinstance(value, str) else f"{value:.15g}"

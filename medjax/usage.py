"""What `--help` and `--helpfull` print: a program's settings by sections, in 80 columns."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from medjax.config import Leaf, list_settings

WIDTH = 80
_FEW = 16  # settings of a program that `--help` shows whole
_NAMES_WIDTH = 26
_AUTO = (
    "With a folder or table as the argument, settings that are not given are chosen from the "
    "images and the machine, and printed; the values above are those without one."
)
_HEADINGS = {  # of the sections of a config, and of the groups that its own fields name
    "data": "Data",
    "predictor": "Model",
    "learning": "Training",
    "training": "Training",
    "feeding": "Training",
    "cross_validation": "Training",
    "augmentation": "Augmentation",
    "measures": "Report",
    "report": "Report",
    "files": "Report",
}
_ORDER = ("Data", "Model", "Training", "Augmentation", "Report", "Flags")


def describe(config: type, name: str, summary: str, *, full: bool) -> str:
    """The help of a program.

    Args:
      config: the class of its settings; summary: the docstring of its module.
      full: all settings, not the common ones alone.
    """
    settings = list(list_settings(config))
    short = len(settings) > _FEW and not full
    shown = [leaf for leaf in settings if leaf.field.metadata["common"]] if short else settings
    lines = [*_wrap_paragraphs(summary), ""]
    for heading, leaves in _by_heading(shown):
        lines += [heading, *(line for leaf in leaves for line in _flag_lines(leaf))]
    if any(leaf.name == "auto" for leaf in settings) and short:
        lines += ["", *textwrap.wrap(_AUTO, WIDTH)]
    if short:
        lines += ["", f"All {len(settings)} flags: {name} --helpfull"]
    return "\n".join(lines)


def _by_heading(settings: Sequence[Leaf]) -> Iterator[tuple[str, list[Leaf]]]:
    has_sections = any(leaf.section for leaf in settings)
    groups: dict[str, list[Leaf]] = {}
    for leaf in settings:
        group = leaf.section or leaf.field.metadata["group"]
        heading = _HEADINGS.get(group, "Model") if has_sections else "Flags"
        groups.setdefault(heading, []).append(leaf)
    return ((heading, groups[heading]) for heading in _ORDER if heading in groups)


def _wrap_paragraphs(text: str) -> Iterator[str]:
    """Prose in 80 columns; commands, which are indented, as they stand."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ""
        if paragraph.startswith(" "):
            yield from paragraph.splitlines()
        else:
            yield from textwrap.wrap(paragraph, WIDTH, break_on_hyphens=False)


def _flag_lines(leaf: Leaf) -> list[str]:
    """`  --name=default   what it is (its choices)`."""
    metadata = leaf.field.metadata
    named = [name for name in metadata["choices"] if name]
    choices = f" ({' | '.join(named)})" if named else ""
    flag = f"  --{leaf.name}={_show(leaf.default)}"
    indent = " " * (_NAMES_WIDTH + 2)
    fits = len(flag) < _NAMES_WIDTH + 1
    text = textwrap.wrap(
        metadata["help"] + choices,
        WIDTH,
        initial_indent=flag.ljust(len(indent)) if fits else indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return text if fits else [flag, *text]


def _show(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)

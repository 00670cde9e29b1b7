"""Conditions on the metadata of cases, as `age>=60`."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from medjax.data import table
from medjax.errors import UserError

COLUMNS = ("case_id", "subject_id")  # that conditions may name beside metadata; always texts
RELATIONS = ("!=", ">=", "<=", "=", ">", "<")
_PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?")
_MOST_DIGITS = 15
_FORM = re.compile(rf"([^{{}}=<>!]+?)\s*({'|'.join(RELATIONS)})\s*([^=<>!].*)")


class Condition(NamedTuple):
    """What a case must have; a case without this metadata does not.

    Attributes:
      name: of the metadata; relation: one of `RELATIONS`.
      value: a number where it can be one.
    """

    name: str
    relation: str
    value: str | float


def parse_conditions(texts: Iterable[str]) -> list[Condition]:
    """The conditions that these texts are, as `sex=F`; raises UserError."""
    return [_parse(text.strip()) for text in texts]


def _parse(text: str) -> Condition:
    form = _FORM.fullmatch(text)
    if form is None:
        raise UserError(f"`where={text}`: give a name, one of {' '.join(RELATIONS)}, and a value")
    name, relation, value = form.groups()
    condition = Condition(name, relation, value if name in COLUMNS else as_fact(value))
    if relation not in ("=", "!=") and isinstance(condition.value, str):
        raise UserError(f"`where={text}`: {relation} is for numbers, and {value!r} is none")
    return condition


def as_fact(text: str) -> str | float:
    """A cell of a table as a number where it is one that loses nothing so: `007` is a text, and so
    is a number with more digits than a float keeps, as an accession number."""
    digits = re.sub(r"e.*|\D", "", text).lstrip("0")
    is_plain = _PLAIN.fullmatch(text) and len(digits) <= _MOST_DIGITS
    return float(text) if is_plain and table.is_number(text) else text

"""JSON read as a dataclass, strictly: what a stranger wrote becomes plain values, or an error."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from medjax.errors import UserError

Kind = TypeVar("Kind")
_LONGEST, _LARGEST = 100_000, 2**53  # of a text or list; of a whole number
_LARGEST_FLOAT = 1e30
_DEEPEST = 40  # objects and lists in one another


def parse(content: bytes) -> Any:
    """JSON in UTF-8, without what makes two readers see two things.

    Raises:
      ValueError: if it is none, is nested deeply, names a field twice, or has NaN or Infinity.
    """
    text = content.decode()
    _check_depth(text)
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)


def _check_depth(text: str) -> None:
    """Before it is parsed, as a parser may run out of its stack."""
    depth, inside, skip = 0, False, False
    for c in text:
        if skip:
            skip = False
        elif inside:
            skip, inside = c == "\\", c != '"'
        elif c == '"':
            inside = True
        elif c in "[{":
            depth += 1
            if depth > _DEEPEST:
                raise ValueError("nested too deeply")
        elif c in "]}":
            depth -= 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is named twice")
    return fields


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read(kind: type[Kind], value: Any, *, where: str) -> Kind:
    """`value`, as `json.loads` gave it, as a `kind`: a dataclass or what its fields may be.

    Fields are text, numbers, truth values, dataclasses, tuples of these, or None. A field with a
    default may be missing; one that the dataclass lacks may not be there.

    Args:
      where: the file, and the place in it, for messages.

    Raises:
      UserError: if it is anything else; the place is named.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is tuple:
        return _tuple(typing.get_args(kind), value, where)  # type: ignore[return-value]
    if origin in (typing.Union, types.UnionType):  # X | None
        some = next(k for k in typing.get_args(kind) if k is not type(None))
        return None if value is None else read(some, value, where=where)  # type: ignore[return-value]
    return _plain(kind, value, where)  # type: ignore[return-value]


def check_texts(value: Any, *, where: str) -> None:
    """Raises UserError if a text in `value`, however deep, has control characters but new lines."""
    if isinstance(value, Mapping):
        for part in (*value.keys(), *value.values()):
            check_texts(part, where=where)
    elif isinstance(value, (list, tuple)):
        for part in value:
            check_texts(part, where=where)
    elif isinstance(value, str) and not value.replace("\n", "").isprintable():
        raise UserError(f"{where}: {_shown(value)} has control characters")


def flat(value: Any, *, name: str = "") -> dict[str, Any]:
    """Nested objects and dataclasses as one, by path: `trained.info.name`."""
    parts = as_plain(value) if _is_instance(value) else value
    if not isinstance(parts, Mapping):
        return {name: parts}
    return {
        k: v
        for key, part in parts.items()
        for k, v in flat(part, name=f"{name}.{key}" if name else str(key)).items()
    }


def _is_instance(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def as_plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain data, without those that only Python gives."""
    return {
        field.name: dataclasses.asdict(part) if _is_instance(part) else part
        for field in dataclasses.fields(value)
        if not field.metadata.get("own")
        for part in [getattr(value, field.name)]
    }


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {_shown(value)} is no object with the fields of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if not f.metadata.get("own")}
    names = {f.metadata["formerly"]: n for n, f in fields.items() if f.metadata.get("formerly")}
    value = {names.get(name, name): part for name, part in value.items()}
    odd = next((name for name in value if name not in fields), None)
    if odd is not None:
        raise UserError(f"{where}: unknown field {_shown(odd)}; written by a newer medjax?")
    missing = next(
        (
            name
            for name, f in fields.items()
            if name not in value
            and (f.metadata.get("kept") or f.default is f.default_factory is dataclasses.MISSING)
        ),
        None,
    )
    if missing is not None:
        raise UserError(f"{where}: the field {missing!r} is missing")
    read_fields = {
        name: read(hints[name], v, where=f"{where}: {name}") for name, v in value.items()
    }
    try:
        return kind(**read_fields)
    except (ValueError, UserError) as e:  # a dataclass may know more about its values
        raise UserError(f"{where}: {e}") from None


def _tuple(kinds: tuple, value: Any, where: str) -> tuple:
    if not isinstance(value, list) or len(value) > _LONGEST:
        raise UserError(f"{where}: {_shown(value)} is no list, or too long a one")
    item_types = [kinds[0]] * len(value) if kinds[1:] == (...,) else list(kinds)
    if len(item_types) != len(value):
        raise UserError(f"{where}: has {len(value)} entries where {len(item_types)} are needed")
    return tuple(
        read(k, v, where=f"{where}[{i}]")
        for i, (k, v) in enumerate(zip(item_types, value, strict=True))
    )


def _plain(kind: type, value: Any, where: str) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is str and isinstance(value, str) and len(value) <= _LONGEST:
        check_texts(value, where=where)
        return value
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and number and isinstance(value, int) and abs(value) < _LARGEST:
        return value
    if kind is float and number and abs(value) < _LARGEST_FLOAT:  # NaN is not
        return float(value)
    raise UserError(f"{where}: {_shown(value)} is no {kind.__name__} that can be used")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."

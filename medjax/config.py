"""Settings as frozen dataclasses whose fields are flags, some of them sections of further fields.

    @unique_names
    @dataclasses.dataclass(frozen=True)
    class Config:
        workdir: str = option("runs/a", "where everything is written", path=True)
        augmentation: Augmentation = Augmentation(rotate_degrees=10.0)

A section is an instance of a dataclass that the library itself uses. Flags and JSON stay flat: a
name stands once, or the class is refused when its module is imported.
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from medjax.errors import UserError, unknown

Class = TypeVar("Class", bound=type)
Instance = TypeVar("Instance")


def option(
    default: Any,
    text: str,
    *,
    choices: Collection[str] = (),
    item: type = str,
    least: float | None = None,
    below: float | None = None,
    free: bool = False,
    path: bool = False,
    grows: bool = False,
    kept: bool = False,
    answers: bool = False,
    formerly: str = "",
    common: bool = False,
    group: str = "",
    positional: bool = False,
) -> Any:
    """A field that is a flag.

    Args:
      default: the value where the flag is not given; a tuple becomes a comma-separated flag.
      text: what `--help` says.
      choices: the values that a string may take; of a registry those that it has when they are
        asked for.
      item: what the entries of a tuple are.
      least: no number may be smaller; all have to be finite.
      below: every number has to be smaller.
      free: may differ when a run is resumed, since results do not depend on it.
      path: a file or folder, in which `~` is that of the user.
      grows: may be larger when a run is resumed.
      kept: stands in every bundle, so that a bundle without it is refused.
      answers: says how a trained network answers: may differ with `eval_only`.
      formerly: the name that it had, under which runs and bundles of before know it.
      common: stands in `--help`; the others in `--helpfull` alone.
      group: the section that a setting without one is shown in.
      positional: takes a word of the command line that stands without a flag, the first such field
        the first one; a tuple takes all.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": text,
            "choices": choices,
            "item": item,
            "least": least,
            "below": below,
            "free": free,
            "path": path,
            "grows": grows,
            "kept": kept,
            "answers": answers,
            "formerly": formerly,
            "common": common,
            "group": group,
            "positional": positional,
        },
    )


def derived(default: Any) -> Any:
    """A field that is no flag, as it follows from the data; it stands in every bundle."""
    return dataclasses.field(default=default, metadata={"kept": True})


def own() -> Any:
    """A field that only Python can give, as a network of one's own; it stands in no file."""
    return dataclasses.field(default=None, compare=False, repr=False, metadata={"own": True})


class Leaf(NamedTuple):
    """One setting: the section that it stands in (empty: none), and what it is there."""

    section: str
    field: dataclasses.Field
    default: Any

    @property
    def name(self) -> str:
        return self.field.name


def unique_names(config: Class) -> Class:
    """Raises TypeError if a setting stands in two sections of a class, as it is made."""
    names: dict[str, str] = {}
    for leaf in list_settings(config):
        if leaf.name in names:
            raise TypeError(
                f"{config.__name__}: {leaf.name} stands in two sections, {names[leaf.name]!r} "
                f"and {leaf.section!r}"
            )
        names[leaf.name] = leaf.section
    return config


def list_settings(config: Any) -> Iterator[Leaf]:
    """The settings of a class or an instance, in order; what is no flag is left out."""
    for field in dataclasses.fields(config):
        value = field.default if isinstance(config, type) else getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            for inner in dataclasses.fields(value):
                if "help" in inner.metadata:
                    yield Leaf(field.name, inner, getattr(value, inner.name))
        elif "help" in field.metadata:
            yield Leaf("", field, value)


def get_setting(config: Any, name: str) -> Any:
    """The value of the setting `name`, in whichever section it stands."""
    return next(leaf.default for leaf in list_settings(config) if leaf.name == name)


def flatten_settings(config: Any) -> dict[str, Any]:
    """All settings by name."""
    return {leaf.name: leaf.default for leaf in list_settings(config)}


def changed_settings(config: Any) -> dict[str, Any]:
    """The settings that differ from their defaults, by name; of a path no more than that it does,
    as a report names no folder of a machine."""
    defaults = flatten_settings(type(config))
    return {
        leaf.name: leaf.name.upper() if leaf.field.metadata["path"] else leaf.default
        for leaf in list_settings(config)
        if leaf.default != defaults[leaf.name]
    }


def rename_formerly(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of before wrote down, with the names that settings have now."""
    names = {
        leaf.field.metadata["formerly"]: leaf.name
        for leaf in list_settings(config)
        if leaf.field.metadata["formerly"]
    }
    return {
        name if names.get(name) in values else names.get(name, name): value
        for name, value in values.items()
    }


def replace_settings(config: Instance, **values: Any) -> Instance:
    """The same with other values, by name, in whichever section they stand."""
    by_section: dict[str, dict[str, Any]] = {}
    for leaf in list_settings(config):
        if leaf.name in values:
            by_section.setdefault(leaf.section, {})[leaf.name] = values.pop(leaf.name)
    if values:
        raise TypeError(f"no such settings: {', '.join(values)}")
    own = by_section.pop("", {})
    sections = {
        name: dataclasses.replace(getattr(config, name), **inner)
        for name, inner in by_section.items()
    }
    return dataclasses.replace(config, **own, **sections)  # type: ignore[type-var]


def remember_given(config: Instance, names: Iterable[str]) -> Instance:
    """The same, with the names of the settings that somebody gave in the section that has a field
    for them, `given`; where there is none, as it is."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        section = getattr(config, field.name)
        if dataclasses.is_dataclass(section) and hasattr(section, "given"):
            part = dataclasses.replace(section, given=tuple(names))  # type: ignore[type-var]
            return dataclasses.replace(config, **{field.name: part})  # type: ignore[type-var]
    return config


def check_ranges(config: Any) -> None:
    """Raises UserError, with the name of the option, for a number outside its range.

    A default may be outside, where a method says what it stands for.
    """
    defaults = flatten_settings(type(config))
    for leaf in list_settings(config):
        if leaf.default == defaults[leaf.name]:
            continue
        numbers = leaf.default if isinstance(leaf.default, tuple) else (leaf.default,)
        for number in numbers:
            why = _outside(number, leaf.field.metadata)
            if why:
                shown = ",".join(map(str, numbers))
                raise UserError(f"`{leaf.name}={shown}`: {why}")


def _outside(number: Any, limits: Mapping[str, Any]) -> str:
    """Why a number is outside its range; empty where it is inside, or no number."""
    least, below = limits["least"], limits["below"]
    if isinstance(number, bool) or not isinstance(number, (int, float)) or least is None:
        return ""
    if below is not None:
        return "" if least <= number < below else f"must be from {least:g} to below {below:g}"
    if number < least:
        return "must not be negative, and finite" if least == 0 else f"must be at least {least:g}"
    most = 2**31 if isinstance(number, int) else float("inf")
    if number < most:
        return ""
    return (
        "must not be negative, and finite"
        if least == 0
        else f"must be at least {least:g}, and below {most}"
        if isinstance(number, int)
        else "must be finite"
    )


def configure(config: type, **settings: Any) -> Any:
    """The settings of an experiment by name, checked as flags are.

    Raises:
      UserError: for a name that it has not, or a value that it does not take.
    """
    known = {leaf.name: leaf for leaf in list_settings(config)}
    odd = next((name for name in settings if name not in known), None)
    if odd is not None:
        raise unknown("setting", odd, known)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    settings |= {
        k: os.path.expanduser(v)
        for k, v in settings.items()
        if known[k].field.metadata["path"] and isinstance(v, str)
    }
    settings = {
        k: tuple(v) if isinstance(v, list) and isinstance(known[k].default, tuple) else v
        for k, v in settings.items()
    }
    for name, value in settings.items():
        default, choices = known[name].default, known[name].field.metadata["choices"]
        if choices and value not in choices and not str(value).startswith("own:"):
            raise unknown(f"value of `{name}`", str(value), choices)
        if not isinstance(value, type(default)) and not (
            isinstance(default, float) and isinstance(value, int)
        ):
            raise UserError(
                f"`{name}={value!r}`: must be a {type(default).__name__}, as {default!r}"
            )
    made = replace_settings(config(), **settings)
    check_ranges(made)
    return made

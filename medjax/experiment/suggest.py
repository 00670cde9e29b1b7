"""Settings that nobody gave, chosen from the set and the device, each with its reason.

With a folder as the argument of a command a user has said nothing but where the images are. Every
choice is printed, stands in `config.json`, and can be given as a flag.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from medjax.config import flatten_settings, list_settings, rename_formerly, replace_settings
from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion
from medjax.workdir import read_settings

Suggest = Callable[[Dataset, bool], Sequence[Suggestion]]  # of a set, and whether on a GPU


def has_accelerator() -> bool:
    """Whether JAX computes on something else than a CPU."""
    import jax

    return jax.default_backend() != "cpu"


def take_stored(config: Any, names: Collection[str]) -> Any:
    """The config with what the run in its work directory was given, where there is one: so that
    the same command goes on with the same choices."""
    stored = _stored_values(config)
    if not stored:
        return config
    values = {name: value for name, value in stored.items() if name in names}
    return _remember_chosen(replace_settings(config, **values), values)


def take_trained(config: Any) -> Any:
    """The config with the settings of the run in its work directory, which is to be reported again,
    where none were given; which set and fold it is, and what is of one's own, has to be given."""
    now, named = flatten_settings(config), config.dataset or config.data.data_dir
    names = {
        leaf.name
        for leaf in list_settings(config)
        if not leaf.field.metadata["free"]
        and leaf.section != "cross_validation"
        and not (leaf.name == "dataset" and named)
    }
    values = {
        name: value
        for name, value in _stored_values(config).items()
        if name in names and value != now[name] and not str(value).startswith("own:")
    }
    return _remember_chosen(replace_settings(config, **values), values)


def _stored_values(config: Any) -> dict[str, Any]:
    """What the run in the work directory was begun with, by the names of today, apart from what is
    given anew; empty where there is none."""
    stored = rename_formerly(config, read_settings(Path(config.files.workdir)) or {})
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name not in config.files.given
    }


def apply(config: Any, suggestions: Iterable[Suggestion], *, say: Callable[[str], None]) -> Any:
    """The config with every suggestion for a setting that it has and that nobody gave."""
    known = flatten_settings(config)
    chosen = [s for s in suggestions if s.name in known and s.name not in config.files.given]
    for name, value, reason in chosen:
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        say(f"chosen: --{name}={shown} ({reason})")
    made = replace_settings(config, **{s.name: s.value for s in chosen})
    return _remember_chosen(made, [s.name for s in chosen])


def _remember_chosen(config: Any, names: Iterable[str]) -> Any:
    files = dataclasses.replace(config.files, chosen=(*config.files.chosen, *names))
    return dataclasses.replace(config, files=files)

"""Settings that nobody gave, chosen from the set and the device, each with its reason.

With a folder as the argument of a command a user has said nothing but where the images are. Every
choice is printed, stands in `config.json`, and can be given as a flag.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from medjax.config import flatten_settings, replace_settings
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
    stored = read_settings(Path(config.files.workdir))
    if stored is None:
        return config
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in stored.items()
        if name in names and name not in config.files.given
    }
    return _remember_chosen(replace_settings(config, **values), values)


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

"""One run in one folder: its settings are written down, and held against those of later calls."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medjax import lock, schema
from medjax.config import flatten_settings, get_setting, list_settings, rename_formerly
from medjax.errors import UserError
from medjax.train.record import plain, write_json
from medjax.typing import Json

_LOCK = ".lock"
_FACTS = "trained."  # of the set, as they stand among the settings of a run
_NEWER = ("started_from", "trained.info.mixed")  # whatever they say, older runs had it too


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was begun with; None where there is none, or it is not readable."""
    try:
        stored = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


def check_workdir(folder: Path, experiment: str, config: Any, **facts: Any) -> None:
    """Raises UserError if the folder holds another experiment or other settings, or other files.

    Fields marked `free` may differ: results do not depend on them; with `eval_only` those marked
    `answers` too. `facts` are what else results
    depend on, as far as it is known yet.
    """
    path = folder / "config.json"
    if not path.exists():
        ours = (_LOCK, f"{path.name}.part")  # what a process leaves that was killed at its start
        if folder.exists() and any(
            f.name not in ours and not re.fullmatch(r"fold_\d+", f.name) for f in folder.iterdir()
        ):
            raise UserError(f"`workdir={folder}`: not empty, and no run of medjax; choose another")
        return
    try:
        old = json.loads(path.read_text())
        if not isinstance(old, dict):
            raise ValueError
        old = rename_formerly(config, old)
        if isinstance(old.get("how"), dict):
            old["how"] = rename_formerly(config, old["how"])
    except ValueError:
        raise UserError(f"{path}: not readable; choose another `workdir`") from None
    new = _described(experiment, config, facts)
    if isinstance(old.get("how"), dict) and "how" in new:  # what an older medjax did not write
        new["how"] = {name: v for name, v in new["how"].items() if name in old["how"]}
    free = _may_differ(config, old)
    for facts_of in (old, new):  # how a network answers stands among the settings and here
        if isinstance(facts_of.get("how"), dict):
            facts_of["how"] = _leave_out(facts_of["how"], free)
    keys = (set(old) | set(new) if facts else set(new)) - free - _grown(config, old)
    before, now = (schema.flat({k: v[k] for k in keys if k in v}) for v in (old, new))
    differ = [
        f"{k} was {before.get(k)!r}, is {now.get(k)!r}"
        for k in sorted(before | now)
        if before.get(k) != now.get(k) and not _is_newer_fact(k, before, now)
    ]
    began = old.get("started_from")
    differ = _join_causes(
        differ, before, now, started=(began, new.get("started_from") if facts else began)
    )
    if differ:
        raise UserError(
            f"`workdir={folder}` holds a run with other settings: {'; '.join(differ)}; "
            "choose another `workdir` or the same settings (with `eval_only`, to report as it is)"
        )


def _join_causes(
    differ: list[str], before: Json, now: Json, *, started: tuple[str | None, str | None]
) -> list[str]:
    """What differs, with one line for what makes much else differ.

    Args:
      started: hashes of the weights that the run has started from and starts from now.
    """
    if before.get("data_sha1") != now.get("data_sha1"):
        of_data = ("data_sha1 ", "trained.preprocessing", "trained.info")
        rest = [line for line in differ if not line.startswith(of_data)]
        differ = ["its images, labels or splits were others (data_sha1)", *rest]
    if before.get("own_code") != now.get("own_code"):
        return ["the code of your network or loss has changed"]
    then, here = started
    if then and here != then:
        return ["the weights that it starts from (`init_from`) have changed"]
    return [line for line in differ if not (then and line.startswith("init_from "))]  # moved


def _leave_out(values: Json, names: set[str]) -> Json:
    """The values without those names, in sections too."""
    return {
        name: _leave_out(value, names) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in names
    }


def _is_newer_fact(name: str, before: Json, now: Json) -> bool:
    """Whether it is a fact that an older medjax did not write, of the set one that says nothing."""
    is_newer = name in _NEWER or (name.startswith(_FACTS) and not now.get(name))
    return name not in before and is_newer


def _may_differ(config: Any, old: dict[str, Any]) -> set[str]:
    """The settings that nothing that is kept depends on."""
    leaves = list(list_settings(config))
    kinds = ("free", "answers") if _evaluates(config) else ("free",)
    marked = {leaf.name for leaf in leaves if any(leaf.field.metadata[kind] for kind in kinds)}
    return marked | _added(config, old)


def _evaluates(config: Any) -> bool:
    return any(leaf.name == "eval_only" and leaf.default for leaf in list_settings(config))


def _added(config: Any, old: dict[str, Any]) -> set[str]:
    """The settings that an older medjax had not, where they ask for what it did."""
    defaults = flatten_settings(type(config))
    return {
        leaf.name
        for leaf in list_settings(config)
        if leaf.name not in old and leaf.default == defaults[leaf.name]
    }


def _grown(config: Any, old: dict[str, Any]) -> set[str]:
    """The fields that may grow, and have; where nothing is trained none does."""
    leaves = [] if _evaluates(config) else list_settings(config)
    grown = {
        leaf.name
        for leaf in leaves
        if leaf.field.metadata["grows"]
        and isinstance(old.get(leaf.name), int)
        and old[leaf.name] < leaf.default
    }
    for name in grown:
        print(
            f"`{name}` grows from {old[name]} to {get_setting(config, name)}; schedules are those "
            "of the new number from here on"
        )
    return grown


@contextlib.contextmanager
def open_workdir(folder: Path, experiment: str, config: Any, **facts: Any) -> Iterator[None]:
    """Makes the work directory and writes `config.json`, once everything else is known to be good.

    While it is open no other process can open it.

    Raises:
      UserError: as `check_workdir`, or if another process is at work in it.
    """
    from medjax.train import mesh  # imports jax: not for --help

    if not mesh.is_first():  # the first checks and holds it for all
        yield
        return
    check_workdir(folder, experiment, config, **facts)
    folder.mkdir(parents=True, exist_ok=True)
    # A file, since of a folder other machines would not know.
    with lock.hold(folder / _LOCK, wait=False) as held:
        if not held:
            raise UserError(
                f"`workdir={folder}`: another process is at work in it; wait until it "
                "has ended, or choose another"
            )
        write_json(folder / "config.json", _described(experiment, config, facts))
        yield


def _described(experiment: str, config: Any, facts: dict) -> dict:
    return {"experiment": experiment, **plain(flatten_settings(config)), **plain(facts)}

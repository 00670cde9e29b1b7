"""The program of an experiment's updates, taken before it is compiled."""

import dataclasses
from typing import Any

from medjax import app
from medjax.train import run


@dataclasses.dataclass(frozen=True)
class Update:
    """A jitted function of many updates, and what it is called with."""

    function: Any
    arguments: tuple[Any, ...]


class _TakenError(Exception):
    """Ends an experiment where it would compile."""


def take_update(experiment: Any, flags: dict[str, Any], monkeypatch: Any) -> Update:
    """The update of an experiment with these flags."""
    taken: list[Update] = []

    def take(plan: run.Plan, state: Any, start: int) -> Any:
        taken.append(Update(*run.stage_updates(plan, state, start)))
        raise _TakenError

    monkeypatch.setattr(run, "_compile", take)
    name = experiment.__name__.split(".")[-1]
    given = [name, *(f"--{k}={v}" for k, v in flags.items())]
    try:
        experiment.main(app.parse(experiment.Config, given, name))
    except _TakenError:
        return taken[0]
    raise AssertionError("no update was compiled")

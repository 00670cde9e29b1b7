"""Settings in sections: one name, one place; flags and JSON flat."""

import dataclasses
import importlib
import json

import pytest

from medjax import app, config
from medjax.errors import UserError
from tests.conftest import ROOT


@dataclasses.dataclass(frozen=True)
class Engine:
    size: int = config.option(3, "how large", least=1)
    share: float = config.option(0.5, "of it", least=0, below=1)
    made_by: str = config.derived("")

    def __post_init__(self):
        if self.size == 13:
            raise UserError("`size` = 13: thirteen brings bad luck")


@config.unique_names
@dataclasses.dataclass(frozen=True)
class Car:
    name: str = config.option("a", "which")
    engine: Engine = Engine(size=5)
    rates: tuple[float, ...] = config.option((), "several", item=float, least=0)


def test_settings_are_flat_whichever_section_they_stand_in():
    assert config.flatten_settings(Car()) == {"name": "a", "size": 5, "share": 0.5, "rates": ()}
    assert [s.section for s in config.list_settings(Car)] == ["", "engine", "engine", ""]
    changed = config.replace_settings(Car(), size=7, name="b")
    assert (changed.engine.size, changed.engine.share, changed.name) == (7, 0.5, "b")
    assert config.get_setting(changed, "size") == 7
    with pytest.raises(TypeError, match="no such settings: sise"):
        config.replace_settings(Car(), sise=7)


def test_a_name_in_two_sections_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"size stands in two sections, 'engine' and 'spare'"):

        @config.unique_names
        @dataclasses.dataclass(frozen=True)
        class Twice:
            engine: Engine = Engine()
            spare: Engine = Engine()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 0}, "`size=0`: must be at least 1"),
        ({"share": 1.0}, "`share=1.0`: must be from 0 to below 1"),
        ({"share": float("nan")}, "`share=nan`: must be from 0 to below 1"),
        ({"rates": (0.1, -1.0)}, "`rates=0.1,-1.0`: must not be negative, and finite"),
        ({"size": 2**31}, "`size=2147483648`: must be at least 1, and below 2147483648"),
    ],
)
def test_numbers_outside_their_range(values, words):
    with pytest.raises(UserError) as error:
        config.check_ranges(config.replace_settings(Car(), **values))
    assert str(error.value) == words


def test_rules_of_a_section_name_the_option():
    with pytest.raises(UserError, match="`size` = 13: thirteen brings bad luck"):
        app.parse(Car, ["car", "--size=13"], "car")


def test_a_command_line_reads_the_flags_that_a_message_names_as_options():
    message = "`rates=0.1,2`: lower it, or `name`; `other` is no flag, `made_by` neither"
    assert app.name_flags(message, Car) == (
        "--rates=0.1,2: lower it, or --name; `other` is no flag, `made_by` neither"
    )


@pytest.mark.parametrize("name", ["classify", "heatmap", "search", "temporal"])
def test_the_defaults_of_every_experiment_are_taken(name):
    module = importlib.import_module(f"experiments.{name}")
    parsed = app.parse(module.Config, [name], name)
    assert parsed.training == module.Config().training


@pytest.mark.parametrize("name", ["classify", "heatmap", "search", "temporal"])
def test_runs_are_described_by_the_keys_of_before(name):
    """So that work directories and bundles of today are read."""
    kept = json.loads((ROOT / "tests" / "bundle" / "kept" / f"{name}.json").read_text())
    module = importlib.import_module(f"experiments.{name}")
    facts = {"experiment", "how", "trained", "data_sha1"}
    keys = config.rename_formerly(module.Config(), dict.fromkeys(kept["config"]))
    assert set(config.flatten_settings(module.Config())) >= set(keys) - facts

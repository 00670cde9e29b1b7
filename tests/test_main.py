"""The command `medjax`: its programs, their help, its tables."""

import importlib
import subprocess
import sys

import pytest

import medjax
from medjax import __main__ as command
from medjax import models, usage
from medjax.config import list_settings
from medjax.data import catalogue, medmnist_sets
from medjax.data.options import DataOptions, LandmarkOptions
from medjax.data.pair_options import PairOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.data.summaries import SUMMARIES
from medjax.tools import datasets
from medjax.tools import models as models_tool
from tests.conftest import ROOT


def test_every_program_is_there():
    for program in command.PROGRAMS.values():
        module = importlib.import_module(program.module)
        assert callable(module.main)
        assert list(list_settings(module.Config)) is not None
    names = {f.stem for f in (ROOT / "experiments").glob("[a-z]*.py")}
    assert names <= set(command.PROGRAMS)
    names = {f.stem for f in (ROOT / "medjax" / "tools").glob("[a-z]*.py")}
    assert names <= set(command.PROGRAMS)


@pytest.mark.parametrize("name", command.PROGRAMS)
def test_help_fits_60_lines_of_80_columns(name):
    program = command.load_program(name)
    text = usage.describe(program.Config, f"medjax {name}", program.__doc__, full=False)
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80


def test_the_full_help_names_every_flag():
    program = command.load_program("classify")
    text = usage.describe(program.Config, "medjax classify", program.__doc__, full=True)
    assert all(f"--{leaf.name}=" in text for leaf in list_settings(program.Config))
    headings = ["Data", "Model", "Training", "Augmentation", "Report"]
    lines = text.splitlines()
    assert [line for line in lines if line in headings] == headings


def test_the_common_flags_are_about_ten():
    for name in ("classify", "heatmap", "search", "temporal"):
        settings = list_settings(command.load_program(name).Config)
        assert 8 <= sum(leaf.field.metadata["common"] for leaf in settings) <= 11


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "medjax", *arguments], capture_output=True, text=True, check=False
    )


def test_an_unknown_command_is_one_line():
    done = run("clasify")
    assert done.returncode == 2
    assert done.stderr == (
        "error: unknown command 'clasify': did you mean classify?; `medjax --help` lists all\n"
    )


def test_version_and_help(capsys):
    command.main(["--version"])
    assert capsys.readouterr().out == f"medjax {medjax.__version__}\n"
    command.main([])
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in command.PROGRAMS)


def test_the_tables_name_all_sets_and_networks(capsys):
    datasets.main(datasets.Config())
    out = capsys.readouterr().out
    for options in (DataOptions(), LandmarkOptions(), SequenceOptions(), PairOptions()):
        assert set(catalogue.kind_of(options).builders()) <= set(SUMMARIES)
    assert all(name in out for name in set(SUMMARIES) - set(medmnist_sets.LARGER))
    models_tool.main(models_tool.Config())
    out = capsys.readouterr().out
    names = {
        **models.CLASSIFIERS,
        **models.LANDMARKERS,
        **models.SEGMENTERS,
        **models.REGISTRATORS,
    }
    assert all(f" {name} " in out for name in names)
    assert set(names) == set(models.SUMMARIES)
    assert "97,650" in out  # the default network: 8,929 dense weights less than with ten classes


def test_a_sweep_takes_the_names_of_commands():
    assert command.load_program("experiments.classify") is command.load_program("classify")

"""The page of measured runs is what its script writes, and its commands are ones that exist."""

import importlib.util
import json
import shlex

import pytest

from medjax import app
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("write_results", ROOT / "docs" / "write_results.py")
write_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_results)
RESULTS = sorted((ROOT / "docs" / "results").glob("*.json"))


def test_the_page_is_written_by_its_script():
    assert (ROOT / "docs" / "results.md").read_text() == write_results.write_page()


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.stem)
def test_a_kept_command_has_flags_that_exist(path):
    row = json.loads(path.read_text())
    program, *arguments = shlex.split(row["command"])[2:]
    given = [a for a in arguments if not a.startswith(("--init_from", "--beside"))]
    app.parse(importlib.import_module(program).Config, [program, *given], program)
    assert row["family"] in write_results.FAMILIES


def test_a_command_is_that_of_its_settings():
    settings = {
        "experiment": "heatmap",
        "data_dir": "/a/b",
        "ndim": 3,
        "flip": [0, 1],
        "steps": 600,
    }
    assert write_results.command_of(settings) == (
        "python -m experiments.heatmap --data_dir=DIR --ndim=3 --flip=0,1"
    )

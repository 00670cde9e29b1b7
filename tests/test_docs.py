"""The page of measured runs is what its script writes, and its commands are ones that exist."""

import importlib.util
import json
import re
import shlex

import pytest

import medjax
from medjax import app
from medjax.__main__ import PROGRAMS, load_program
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
    name, *arguments = shlex.split(row["command"])[1:]
    program = f"experiments.{name}"
    given = [a for a in arguments if not a.startswith(("--init_", "--beside"))]
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
        "medjax heatmap --data_dir=DIR --ndim=3 --flip=0,1"
    )


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "launch" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def commands(text):
    """The `medjax` commands of a page's shell blocks, lines that go on joined."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].removeprefix(".venv/bin/") == "medjax":
                yield words[1:]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_one_that_exists(path):
    for name, *arguments in commands(path.read_text()):
        if name.startswith("--") or name == "COMMAND":
            continue
        given = [a for a in arguments if not a.startswith(("--init_", "--beside"))]
        app.parse(load_program(name).Config, [name, *given], name)


def test_the_pages_name_every_command():
    text = (ROOT / "docs" / "commands.md").read_text()
    assert all(f"`medjax {name}`" in text for name in PROGRAMS)


def test_links_between_pages_lead_somewhere():
    for path in PAGES:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            if not re.match(r"[a-z]+:", link):
                assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def test_versions_are_one():
    assert f"version: {medjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {medjax.__version__}," in (ROOT / "CHANGELOG.md").read_text()

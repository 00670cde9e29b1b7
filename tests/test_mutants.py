"""Faults in a copy of the project are noticed by the tests that are named for them."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_is_what_it_says(mutant: Mutant):
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    path, _, name = mutant.test.partition("::")
    assert f"def {name.split('[')[0]}" in (ROOT / path).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_each_mutant_is_noticed(mutant: Mutant, tmp_path):
    for folder in ("medjax", "experiments", "launch", "tests", "benchmarks"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / mutant.file
    path.write_text(path.read_text().replace(mutant.old, mutant.new))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-m",
            "",  # the slow ones too
            mutant.test,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stdout[-3000:]  # 1: tests failed, not that none was found
    assert "1 failed" in done.stdout

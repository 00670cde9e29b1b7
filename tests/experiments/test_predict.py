"""`experiments.predict` as a user starts it; what it answers is tested in tests/bundle."""

import subprocess
import sys

from medjax.bundle import archive
from tests.bundle.conftest import made
from tests.conftest import ROOT


def test_as_a_user_starts_it(tmp_path, tmp_path_factory, cache_dir):
    shared = made("classify", tmp_path_factory, cache_dir)
    archive.write_zip(tmp_path / "b.zip", shared.files)
    (tmp_path / "in").mkdir()
    for i, bad in enumerate((False, True)):
        target = tmp_path / "in" / f"{i}.png"
        target.write_bytes(b"no picture" if bad else (shared.data / "dark" / "00.png").read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "experiments.predict",
            f"{tmp_path}/b.zip",
            f"--input={tmp_path}/in",
            f"--output={tmp_path}/out",
            f"--cache_dir={cache_dir}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "1 of 2 could not be answered" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "out" / "predictions.csv").read_text().count("\n") == 2

"""A set that is too large for a device."""

import json

from experiments import classify
from medjax import app
from medjax.train import supervised
from tests.conftest import settings
from tests.experiments.test_classify import SMALL


def test_it_is_read_as_it_is_needed_says_so_and_changes_nothing(
    tmp_path, cache_dir, capsys, monkeypatch
):
    def run(name):
        flags = settings(SMALL, workdir=tmp_path / name, cache_dir=cache_dir)
        given = [f"--{k}={v}" for k, v in flags.items()]
        classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
        return json.loads((tmp_path / name / "report.json").read_text()), capsys.readouterr().out

    resident, told = run("resident")
    assert "read as they are needed" not in told
    monkeypatch.setattr(supervised, "RESIDENT_BYTES", 10**5)
    streamed, told = run("streamed")
    assert "GB, more than the 0.0001 GB that are kept on a device: batches are read as" in told
    assert resident["weights_sha256"] == streamed["weights_sha256"]

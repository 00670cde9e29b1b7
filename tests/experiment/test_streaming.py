"""A set that is too large for a device."""

from medjax.train import supervised
from tests.experiments.test_classify import report_of, run_here


def test_it_is_read_as_it_is_needed_says_so_and_changes_nothing(
    tmp_path, cache_dir, capsys, monkeypatch
):
    run_here(tmp_path / "resident", cache_dir)
    assert "read as they are needed" not in capsys.readouterr().out
    monkeypatch.setattr(supervised, "RESIDENT_BYTES", 10**5)
    run_here(tmp_path / "streamed", cache_dir)
    told = capsys.readouterr().out
    assert "GB, more than the 0.0001 GB that are kept on a device: batches are read as" in told
    resident, streamed = (report_of(tmp_path / name) for name in ("resident", "streamed"))
    assert resident["weights_sha256"] == streamed["weights_sha256"]

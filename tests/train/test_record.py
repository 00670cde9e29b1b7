import json

import numpy as np
import pytest

from medjax.train import record


def test_lines_after_a_restart_are_those_of_one_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = record.MetricsFile(path, step=0)
    for step in (10, 20, 30):
        file.write(step, {"loss": 1.0 / step})
    file.close()
    with path.open("a") as f:
        f.write('{"step": 40, "lo')  # killed while writing
    again = record.MetricsFile(path, step=20)
    again.write(30, {"loss": np.float32(0.5), "gap": np.nan})
    again.close()
    lines = record.read_lines(path)
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1] == {"step": 30, "loss": 0.5, "gap": None}


def test_json_is_whole_or_absent(tmp_path):
    path = tmp_path / "a.json"
    record.write_json(path, {"a": np.float64(1.5), "b": [np.int32(2), np.inf], "c": (True, "x")})
    assert json.loads(path.read_text()) == {"a": 1.5, "b": [2, None], "c": [True, "x"]}
    with pytest.raises(TypeError):
        record.write_json(path, {"a": object()})
    assert json.loads(path.read_text())["a"] == 1.5


def test_progress_averages_and_counts(tmp_path, capsys):
    file = record.MetricsFile(tmp_path / "m.jsonl", step=0)
    progress = record.Progress(file, start=0, steps=4, batch=8, every=4)
    progress(1, None, {"loss": np.float32(3.0), "bad_step": -1}, 1)
    progress(4, None, {"loss": np.float32(5.0), "bad_step": -1}, 3)
    (line,) = record.read_lines(tmp_path / "m.jsonl")
    assert line["loss"] == 2.0
    out = capsys.readouterr().out
    assert "step      4/4" in out
    assert "examples/s" in out
    assert "left" in out


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (65.4, "1:05"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert record.clock(seconds) == text

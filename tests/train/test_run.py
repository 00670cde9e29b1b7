"""When training ends before its last step."""

import json
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from medjax import app
from medjax.train import run
from medjax.train.run import has_stalled
from tests.conftest import settings


@pytest.mark.parametrize(
    ("history", "patience", "stalled"),
    [
        ([0.5, 0.6, 0.7], 2, False),
        ([0.7, 0.6, 0.65], 2, True),
        ([0.7, 0.7, 0.7], 2, True),  # equal is no gain
        ([0.7, 0.6], 2, False),  # too few to tell
        ([0.7, 0.6, 0.71], 2, False),
        ([0.7, 0.6, 0.5, 0.4], 0, False),
        ([np.nan, np.nan, np.nan], 2, False),  # nothing to gain on yet
        ([np.nan, 0.1, np.nan], 2, False),
        ([0.5, np.nan, np.nan], 2, True),
    ],
)
def test_no_gain_by_hand(history, patience, stalled):
    assert has_stalled(history, patience) is stalled


def test_a_run_ends_early_and_stays_ended(tmp_path, cache_dir, capsys):
    from experiments import classify

    flags = settings(
        {"subjects": 30, "model": "mlp", "batch": 8, "bootstrap": 20, "steps": 200},
        eval_every=2,
        early_stopping=2,
        learning_rate=0.0,
        ema_decay=0.0,
        workdir=tmp_path / "w",
        cache_dir=cache_dir,
    )
    given = [f"--{k}={v}" for k, v in flags.items()]
    classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
    out = capsys.readouterr().out
    assert "no gain in 2 evaluations: training ends here" in out
    report = json.loads((tmp_path / "w" / "report.json").read_text())
    assert report["train"]["steps"] == 6  # the second and third are no better than the first
    assert report["train"]["ended_early"] is True
    classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
    assert "compiling (the first time" not in capsys.readouterr().out


@pytest.mark.parametrize(("steps", "said"), [(400_000, 1), (1000, 0), (20, 0)])
def test_a_run_of_more_than_an_hour_says_so_before_it_starts(steps, said):
    """An update takes 20 ms: 400,000 take 2.2 hours and more, 1,000 half a minute."""
    plan = SimpleNamespace(steps=steps, keys=None, feed=lambda start, count: None)
    state = {"w": jnp.ones(3)}
    lines = []

    def update(keys, state, data, count):
        time.sleep(0.02)
        return state

    run._tell_if_long(plan, update, state, 0, lines.append)
    assert len(lines) == said
    assert all(line.startswith("this will take about 2:") for line in lines)


def test_rates_beside_one_another_end_when_none_gains(tmp_path):
    plan = SimpleNamespace(choices=2, score="auc", higher=True, patience=2)
    history = run._History(plan, tmp_path, until=0)
    for high, low in ((0.8, 0.5), (0.8, 0.6), (0.8, 0.7)):
        history.add({"auc_of_0": high, "auc_of_1": low})
    assert not history.stalled()  # the slower one gains
    for _ in range(2):
        history.add({"auc_of_0": 0.8, "auc_of_1": 0.7})
    assert history.stalled()

"""Trainings that go on from an earlier one, by their real flags."""

import dataclasses

import jax
import numpy as np
import pytest

from medjax import weights
from medjax.train.record import write_json
from tests.experiments import programs
from tests.experiments.test_accelerators import EXPERIMENTS


@pytest.mark.parametrize("name", ["detect", "heatmap", "register", "segment"])
def test_training_goes_on_from_the_weights_of_a_run(name, monkeypatch, tmp_path, cache_dir):
    experiment, small = EXPERIMENTS[name]
    flags = {**small, "workdir": tmp_path / "w", "cache_dir": cache_dir}
    tree, fitted = programs.take_weights(experiment, flags, monkeypatch)
    varied = jax.tree.map(lambda x: np.asarray(x) + 0.125, tree)
    run = tmp_path / "run"
    run.mkdir()
    weights.write(run / weights.NAME, varied)
    about = {**dataclasses.asdict(fitted), "mean": [0.3], "sd": [0.2]}
    write_json(run / "config.json", {"dataset": "other", "trained": {"preprocessing": about}})
    started = {**flags, "init_from": run, "seed": 5}
    found, scaling = programs.take_weights(experiment, started, monkeypatch)
    if name == "heatmap":  # widths of the maps are those of this run
        np.testing.assert_array_equal(found[0].pop("log_sigma"), tree[0]["log_sigma"])
        varied[0].pop("log_sigma")
    jax.tree.map(np.testing.assert_array_equal, found, varied)
    if name != "register":  # whose images are never scaled by the set
        assert (scaling.mean, scaling.sd) == ((0.3,), (0.2,))

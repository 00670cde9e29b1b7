"""Seeds that name the two ends of an axis differently do not cancel, in any of the three paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.tasks.base import compile_answers, predict_ensemble
from medjax.tasks.heatmap import predictor as heatmap
from medjax.train.predict import compile_predict, predict_split
from medjax.train.task import Task

ENDS = np.array([[3.0, 3.0], [12.0, 12.0]])
NAMES = ("a", "b")


def predict_ends(params, stats, batch):
    """Two networks of which the second calls a what the first calls b; weights tell which it is."""
    points = jnp.where(params[0] > 0, jnp.asarray(ENDS)[::-1], jnp.asarray(ENDS))
    count = len(batch["image"])
    found = {"points": jnp.tile(points, (count, 1, 1)), "confidence": jnp.ones((count, 2))}
    return {**found, "loss": jnp.zeros(count)} if "landmarks" in batch else found


@pytest.fixture
def how(monkeypatch):
    made = heatmap.HeatmapPredictor("unet", 4, 2, "l2", "peak", 1.0)
    task = Task(None, None, predict_ends)
    monkeypatch.setattr(heatmap.HeatmapPredictor, "make_task", lambda self, spec: task)
    return made


def trained(unordered):
    info = DatasetInfo("x", landmarks=NAMES, unordered=unordered)
    return ModelSpec(info, (16, 16, 1), "uint8", Preprocessing(0.0, 255.0, (0.5,), (0.3,)), 2)


WEIGHTS = (jnp.array([[0.0], [1.0]]), {})


def split():
    count = 3
    eye = np.tile(np.eye(3), (count, 1, 1))
    points = np.tile(ENDS, (count, 1, 1))
    return Split(
        {
            "landmarks": points,
            "to_world": eye,
            "to_file": eye,
            "true_mm": points,
            "true_file": points,
            "known": np.ones(count, bool),
        },
        [f"c{i}" for i in range(count)],
        [f"s{i}" for i in range(count)],
        [{}] * count,
        lambda i: np.zeros((16, 16, 1), np.uint8),
        (16, 16, 1),
        np.dtype(np.uint8),
    )


@pytest.mark.parametrize(("unordered", "wanted"), [((NAMES,), ENDS), ((), np.full((2, 2), 7.5))])
def test_report_bundle_and_stablehlo_agree(how, unordered, wanted):
    known = trained(unordered)
    predict = compile_predict(how.make_task(known).predict)
    by_seed = predict_split(predict, WEIGHTS, split(), columns=("landmarks",), batch=2)
    del by_seed["loss"]
    found = how.output.tabulate(split(), known, how.output.ensemble(by_seed, known))
    np.testing.assert_allclose(found.points_mm, np.tile(wanted, (3, 1, 1)))
    for answer in compile_answers(how, known, batch=2)(WEIGHTS, split()):
        np.testing.assert_allclose(answer.points_px, wanted)
    whole = jax.jit(predict_ensemble(how, known))(*WEIGHTS, jnp.zeros((3, 16, 16, 1)))
    np.testing.assert_allclose(whole["points"], np.tile(wanted, (3, 1, 1)))

"""Seeds that name the two ends of an axis differently do not cancel, in any of the three paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.info import DatasetInfo
from medjax.data.source import Split
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.tasks.heatmap import predictor as heatmap

ENDS = np.array([[3.0, 3.0], [12.0, 12.0]])
NAMES = ("a", "b")


class Seeds:
    """Two networks of which the second calls a what the first calls b; weights tell which it is."""

    def maps(self, params, stats, images):
        points = jnp.where(params[0] > 0, jnp.asarray(ENDS)[::-1], jnp.asarray(ENDS))
        return jnp.tile(points, (len(images), 1, 1))

    def decode(self, points):
        from medjax.tasks.heatmap.task import LocatedPoints

        return LocatedPoints(points, jnp.ones(2))

    def score(self, params, maps, true, known):
        return jnp.zeros(())


@pytest.fixture
def how(monkeypatch):
    made = heatmap.HeatmapPredictor("unet", 4, 2, "l2", "peak", 1.0)
    monkeypatch.setattr(heatmap.HeatmapPredictor, "task", lambda self, trained: Seeds())
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
    predict = heatmap.program(how.task(known))
    each, _ = heatmap.located(
        predict,
        WEIGHTS,
        split(),
        NAMES,
        batch=2,
        absent_below=0.0,
        unordered=known.info.pairs(known.info.unordered),
    )
    np.testing.assert_allclose(heatmap.ensemble(each).points_mm, np.tile(wanted, (3, 1, 1)))
    for answer in how.answers(known, batch=2)(WEIGHTS, split()):
        np.testing.assert_allclose(answer.points, wanted)
    whole, _ = how.function(known)
    found = jax.jit(whole)(*WEIGHTS, jnp.zeros((3, 16, 16, 1)))
    np.testing.assert_allclose(found.points, np.tile(wanted, (3, 1, 1)))

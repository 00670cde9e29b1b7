import numpy as np
import pytest
from scipy.special import ellipe

from medjax.data import geometry
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation import lengths
from medjax.outputs.landmarks import biometry

INFO = DatasetInfo(
    "head",
    landmarks=("a", "b", "c", "d"),
    lengths=(("ofd", "a", "b"), ("bpd", "c", "d")),
    ellipses=(("hc", "ofd", "bpd"),),
)


def test_a_circle_and_ellipses_have_their_circumference():
    assert geometry.circumference(np.array(10.0), np.array(10.0)) == pytest.approx(np.pi * 10)
    long, short = np.array([100.0, 100.0]), np.array([80.0, 50.0])
    exact = 2 * long * ellipe(1 - (short / long) ** 2)  # the elliptic integral, half axes
    np.testing.assert_allclose(geometry.circumference(long, short), exact, rtol=1e-6)


def heads():
    points = np.array([[[0.0, 0], [30, 40], [0, 0], [0, 40]], [[0, 0], [60, 0], [5, 0], [5, 50]]])
    eye = np.tile(np.eye(3), (2, 1, 1))
    return Split(
        {"landmarks": points, "to_world": eye, "to_file": eye},
        ["x", "y"],
        ["x", "y"],
        [{"hc_mm_official": "141.5"}, {"hc_mm_official": "173.0"}],
        lambda i: np.zeros((2, 2, 1)),
        (2, 2, 1),
        np.dtype(np.uint8),
    )


def test_lengths_by_hand_and_the_official_circumference():
    true = biometry.truth(INFO, heads())
    np.testing.assert_allclose(true["ofd"], [50.0, 60.0])
    np.testing.assert_allclose(true["bpd"], [40.0, 50.0])
    np.testing.assert_allclose(true["hc"], [141.5, 173.0])


def test_errors_by_hand():
    true = {"ofd": np.array([50.0, 60.0])}
    found = {"ofd": np.array([55.0, 57.0])}  # a tenth too long, a twentieth too short
    values = lengths.estimates(true, found, ["x", "y"], samples=50)
    assert values["ofd_nme"].value == pytest.approx(0.075)
    assert values["ofd_mae_mm"].value == pytest.approx(4.0)
    lost = lengths.estimates(true, {"ofd": np.array([55.0, np.nan])}, ["x", "y"], samples=50)
    assert lost["ofd_nme"].value == pytest.approx(0.1)
    guess = biometry.constant(true, {"ofd": np.array([40.0, 50.0, 70.0])})
    assert guess["ofd_mae_mm"] == pytest.approx(5.0)


def test_a_set_without_lengths_has_none():
    assert biometry.measure(DatasetInfo("x", landmarks=("a",)), np.zeros((2, 1, 2))) == {}
    assert biometry.constant({}, {}) == {}

"""What all predictions have in common, by a table of numbers."""

import numpy as np

from medjax.evaluation.metrics import mean_defined, ratio
from medjax.evaluation.predictions import Predictions


class Numbers(Predictions):
    def __init__(self, values):
        self.case_id = self.subject_id = [f"s{i}" for i in range(len(values))]
        self.found = np.asarray(values, float)

    @property
    def table(self):
        return np.zeros(len(self.found)), self.found


def mean(true, found, weight):
    """mean of found - true"""
    return mean_defined(found - true, weight)


def test_a_comparison_is_the_other_minus_this_one():
    """Means 2 and 5, on twelve subjects."""
    mine, other = Numbers([1, 3] * 6), Numbers([4, 6] * 6)
    assert mine.values({"m": mean}) == {"m": 2.0}
    found = mine.compare(other, mean, samples=200)
    assert (found.a, found.b, found.difference.value) == (2.0, 5.0, 3.0)
    assert mine.estimates({"m": mean}, samples=100)["m"].value == 2.0


def test_a_ratio_over_nothing_is_undefined():
    np.testing.assert_array_equal(
        ratio(np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, 4.0])), [np.nan, np.nan, 0.25]
    )

"""Axes of masks, and the circumference of a head from its mask."""

import numpy as np
import pytest

from medjax.data.info import DatasetInfo
from medjax.outputs.masks import ellipses

ONE = np.ones(2)


def drawn(long, short, *, degrees=0.0, side=201, spacing=ONE):
    """The mask of an ellipse with these whole axes, in units of `spacing`."""
    places = (
        np.stack(np.meshgrid(*2 * [np.arange(side)], indexing="ij"), -1) - side // 2
    ) * spacing
    turn = np.deg2rad(degrees)
    u = places @ [np.cos(turn), np.sin(turn)]
    v = places @ [-np.sin(turn), np.cos(turn)]
    return (2 * u / long) ** 2 + (2 * v / short) ** 2 <= 1


@pytest.mark.parametrize("degrees", [0, 33, 90])
def test_axes_of_a_drawn_ellipse(degrees):
    found = ellipses.axes(drawn(120, 80, degrees=degrees), spacing=ONE)
    np.testing.assert_allclose(found, [120, 80], atol=0.3)


def test_a_square_pixel_by_hand():
    # one pixel: its moment is 1 / 12 along both axes, and that of a disc d^2 / 16
    np.testing.assert_allclose(ellipses.axes(np.ones((1, 1), bool), spacing=ONE), 4 / np.sqrt(12))


def test_pixels_that_are_not_square():
    spacing = np.array([0.5, 1.25])
    found = ellipses.axes(drawn(90, 60, degrees=20, spacing=spacing), spacing=spacing)
    np.testing.assert_allclose(found, [90, 60], atol=0.3)


def test_holes_and_small_pieces_do_not_count():
    whole = drawn(120, 80)
    broken = whole.copy()
    broken[95:105, 95:105] = False
    broken[:5, :5] = True
    np.testing.assert_array_equal(
        ellipses.axes(broken, spacing=ONE), ellipses.axes(whole, spacing=ONE)
    )


def test_a_mask_that_is_missing_has_no_length():
    info = DatasetInfo("head", structures=("head",), ellipses=(("hc", "ofd", "bpd"),))
    axes = np.stack([ellipses.axes(np.zeros((4, 4), bool), spacing=ONE), [10.0, 10.0]])
    found = ellipses.measure(info, axes)
    np.testing.assert_allclose(found["hc"], [0.0, 10 * np.pi])
    np.testing.assert_allclose(found["bpd"], [0.0, 10.0])

"""`medjax.ops.sequence`, and guided back-propagation, against values worked out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax import losses
from medjax.ops import sequence
from medjax.ops.guided import guided_relu


def curve(ed, es, length, size, cyclic):
    return sequence.volume_curve(
        jnp.float32(ed), jnp.float32(es), jnp.int32(length), size=size, cyclic=cyclic
    )


def test_the_curve_of_twenty_frames():
    """Systole ((7 - k) / 7)^3, diastole ((k - 7) / 13)^(1/3)."""
    y, known = curve(0, 7, 20, 22, True)
    want = [(1 - k / 7) ** 3 for k in range(8)] + [((k - 7) / 13) ** (1 / 3) for k in range(8, 20)]
    np.testing.assert_allclose(y, [*want, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(known, [True] * 20 + [False] * 2)


@functools.partial(jax.jit, static_argnames="size")
def cycle(ed, es, length, *, size):
    return sequence.volume_curve(ed, es, length, size=size, cyclic=True)[0]


@given(st.integers(4, 20), st.data())
def test_the_curve_turns_with_the_cycle(length, data):
    ed = data.draw(st.integers(0, length - 1))
    es = (ed + data.draw(st.integers(1, length - 1))) % length
    turn = data.draw(st.integers(0, length - 1))
    a = cycle(ed, es, length, size=20)[:length]
    b = cycle((ed + turn) % length, (es + turn) % length, length, size=20)[:length]
    np.testing.assert_allclose(np.roll(a, turn), b, atol=1e-6)
    assert int(a.argmax()) == ed
    assert int(a.argmin()) == es


@pytest.mark.parametrize(
    ("ed", "es", "want"),
    [(1, 3, [np.nan, 1.0, 0.125, 0.0, np.nan]), (3, 1, [np.nan, 0.0, 0.5 ** (1 / 3), 1.0, np.nan])],
)
def test_of_no_cycle_only_the_part_between_is_known(ed, es, want):
    y, known = curve(ed, es, 5, 5, False)
    np.testing.assert_array_equal(known, ~np.isnan(want))
    np.testing.assert_allclose(np.where(known, y, np.nan), want, atol=1e-6)


def test_without_a_frame_nothing_is_known():
    assert not curve(np.nan, 3, 5, 5, True)[1].any()
    assert np.isfinite(curve(2, 2, 5, 5, True)[0]).all()


@pytest.mark.parametrize(
    ("length", "reach", "want"),
    [(3, 2, [2, 3, 1, 2, 3, 1, 2]), (2, 5, [2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1])],
)
def test_a_cycle_goes_on_before_and_behind_however_short_it_is(length, reach, want):
    x = jnp.array([1, 2, 3, 99, 99][:length] + [99] * (5 - length))
    long = sequence.unrolled(x, jnp.int32(length), jnp.int32(reach), size=5 + 2 * reach)
    np.testing.assert_array_equal(long[: length + 2 * reach], want)
    whole = sequence.inner(long, jnp.int32(reach), size=5)
    np.testing.assert_array_equal(whole[:length], x[:length])


def test_moving_averages():
    x = jnp.array([0.0, 3.0, 6.0, 9.0, 99.0])
    n = jnp.int32(4)
    np.testing.assert_allclose(sequence.moving_average(x, n, width=3)[:4], [1.5, 3, 6, 7.5])
    np.testing.assert_allclose(
        sequence.moving_average(x, n, width=3, cyclic=True)[:4], [4, 3, 6, 5]
    )
    np.testing.assert_allclose(sequence.moving_average(x, n, width=1)[:4], x[:4])


def test_temporal_structure_counts_what_goes_the_wrong_way():
    target, known = jnp.array([1.0, 0.5, 0.0, 0.5, 9.0]), jnp.array([True] * 4 + [False])
    same = losses.temporal_structure(target, target, known)
    assert float(same) == 0.0
    # Rises by 0.5 where it should fall, falls by 0.25 where it should rise: 0.75 / (2 * 4).
    wrong = jnp.array([0.0, 0.5, 0.25, 0.0, 7.0])
    assert float(losses.temporal_structure(wrong, target, known)) == pytest.approx(0.75 / 8)
    # The target also rises from the last frame to the first; the curve 0.5 -> 0.4 does not.
    turned = jnp.array([0.4, 0.3, 0.2, 0.5, 7.0])
    assert float(losses.temporal_structure(turned, target, known, cyclic=True)) == pytest.approx(
        0.1 / 8
    )


def test_guided_gradients_pass_where_input_and_gradient_are_positive():
    x, weight = jnp.array([-1.0, 2.0, 3.0]), jnp.array([5.0, -6.0, 7.0])
    gradient = jax.grad(lambda v: (guided_relu(v) * weight).sum())(x)
    np.testing.assert_array_equal(gradient, [0.0, 0.0, 7.0])
    np.testing.assert_array_equal(guided_relu(x), [0.0, 2.0, 3.0])

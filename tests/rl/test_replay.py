"""The ring of steps: what is kept, what is drawn, and that episodes stay apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.rl import replay


def filled(count, length=6, agents=3):
    """Row t of agent a holds 10 t + a."""
    ring = replay.create(
        {"x": jnp.zeros(agents, jnp.int16), "y": jnp.zeros((agents, 2))}, length=length
    )
    for t in range(count):
        row = 10 * t + jnp.arange(agents)
        ring = replay.add(ring, {"x": row.astype(jnp.int16), "y": jnp.stack([row, -row], 1) * 1.0})
    return ring


def test_the_newest_rows_take_the_place_of_the_oldest():
    ring = filled(8)
    assert ring.rows["x"][:, 1].tolist() == [61, 71, 21, 31, 41, 51]
    assert int(ring.written) == 8


def test_bytes_a_step():
    assert replay.bytes_of({"x": jnp.zeros(4, jnp.int16), "y": jnp.zeros((4, 2))}) == 2 + 8


@pytest.mark.parametrize(("count", "times"), [(5, {2, 3}), (9, {5, 6, 7})])
def test_drawn_steps_have_their_past_and_future_in_the_ring(count, times):
    ring = filled(count)
    time, agent, weight = replay.draw(
        jax.random.key(0), ring, jnp.ones((6, 3)), count=600, before=2, after=1
    )
    assert set(np.unique(time)) == times
    assert (weight == 1).all()
    share = np.bincount(np.asarray(agent), minlength=3) / 600
    np.testing.assert_allclose(share, 1 / 3, atol=0.08)  # 4 standard deviations
    rows = jax.vmap(lambda t, a: replay.window(ring, t, a, before=2, after=1))(time, agent)
    wanted = 10 * (np.asarray(time)[:, None] + np.arange(-2, 2)) + np.asarray(agent)[:, None]
    np.testing.assert_array_equal(rows["x"], wanted)
    np.testing.assert_array_equal(rows["y"][..., 1], -wanted)


def test_steps_are_drawn_in_proportion_to_their_priority():
    """After nine of six rows, row 1 holds time 7; agent 2 of it is three times as likely."""
    priority = jnp.zeros((6, 3)).at[1].set(jnp.array([1.0, 0.0, 3.0]))
    time, agent, weight = replay.draw(
        jax.random.key(0), filled(9), priority, count=1000, before=0, after=0
    )
    assert set(np.unique(time)) == {7}
    share = np.bincount(np.asarray(agent), minlength=3) / 1000
    np.testing.assert_allclose(share, [0.25, 0.0, 0.75], atol=0.06)
    np.testing.assert_allclose(weight, np.where(np.asarray(agent) == 2, 1 / 3, 1.0), rtol=1e-6)


def test_the_largest_number_draws_no_row_that_was_never_written(rng, monkeypatch):
    """Rounded sums of unequal priorities rise a little behind the last row that counts."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, 1 - 2.0**-23))
    draw = jax.jit(
        lambda written, priority: replay.draw(
            jax.random.key(0),
            replay.Ring({"x": jnp.zeros((500, 64), jnp.int8)}, written),
            priority,
            count=4,
            before=3,
            after=0,
        )
    )
    for _ in range(60):
        written = int(rng.integers(40, 499))
        priority = np.zeros((500, 64), np.float32)
        priority[:written] = (rng.gamma(0.5, 1, (written, 64)) + 1e-3) ** 0.6
        time, _, weight = draw(jnp.int32(written), jnp.asarray(priority))
        assert ((time >= 3) & (time < written)).all()
        assert np.isfinite(weight).all()


@pytest.mark.parametrize(
    ("ended", "wanted"),
    [
        ([0, 0, 0, 0], [0, 1, 2, 3]),
        ([0, 1, 0, 0], [2, 2, 2, 3]),
        ([1, 1, 0, 1], [2, 2, 2, 3]),
        ([0, 0, 1, 1], [3, 3, 3, 3]),
        ([1], [0]),
    ],
)
def test_history_does_not_reach_into_the_episode_before(ended, wanted):
    assert replay.same_episode(jnp.array(ended, bool)).tolist() == wanted

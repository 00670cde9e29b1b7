"""The targets of Q-learning against sums by hand, and exploration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.rl import explore, targets


@pytest.mark.parametrize(
    ("reward", "terminated", "truncated", "wanted"),
    [
        ([1, 2, 4], [0, 0, 0], [0, 0, 0], (1 + 1 + 1, 0.125, 3)),
        ([1, 2, 4], [0, 1, 0], [0, 0, 0], (2, 0.0, 2)),  # nothing follows
        ([1, 2, 4], [0, 0, 0], [0, 1, 0], (2, 0.25, 2)),  # a value follows
        ([1, 2, 4], [0, 0, 1], [0, 1, 0], (2, 0.25, 2)),  # the later end is of another episode
        ([1, 2, 4], [0, 0, 1], [1, 0, 0], (1, 0.5, 1)),
        ([3], [1], [0], (3, 0.0, 1)),
    ],
)
def test_rewards_of_n_steps_end_with_the_episode(reward, terminated, truncated, wanted):
    total, discount, steps = targets.n_step(
        jnp.array(reward, jnp.float32),
        jnp.array(terminated, bool),
        jnp.array(truncated, bool),
        gamma=0.5,
    )
    assert (float(total), float(discount), int(steps)) == wanted


def test_double_q_learning_takes_the_others_choice():
    target_q, online_q = jnp.array([1.0, 5.0, 2.0]), jnp.array([0.0, 1.0, 3.0])
    one, half = jnp.float32(1.0), jnp.float32(0.5)
    assert float(targets.q_target(one, half, target_q, target_q)) == 1 + 0.5 * 5
    assert float(targets.q_target(one, half, target_q, online_q)) == 1 + 0.5 * 2
    assert float(targets.q_target(one, jnp.float32(0.0), target_q, online_q)) == 1


def test_no_gradient_flows_into_a_target():
    def loss(q):
        return targets.q_target(jnp.float32(1.0), jnp.float32(1.0), q, q)

    np.testing.assert_array_equal(jax.grad(loss)(jnp.array([1.0, 2.0])), [0.0, 0.0])


def test_exploring_falls_and_differs():
    def at(step, agent, **more):
        return float(
            explore.epsilon(
                jnp.array(step), jnp.array(agent), agents=3, first=1.0, last=0.25, steps=100, **more
            )
        )

    assert [at(s, 0) for s in (0, 50, 100, 1000)] == [1.0, 0.625, 0.25, 0.25]
    assert [at(100, i, spread=2.0) for i in range(3)] == [0.25, 0.0625, 0.015625]


def test_an_action_is_the_best_or_any():
    q = jnp.array([0.0, 3.0, 1.0, 2.0])
    keys = jax.random.split(jax.random.key(0), 4000)
    act = jax.jit(jax.vmap(explore.epsilon_greedy, (0, None, None)))
    assert (act(keys, q, jnp.float32(0.0)) == 1).all()
    share = np.bincount(act(keys, q, jnp.float32(0.4)), minlength=4) / len(keys)
    np.testing.assert_allclose(share, [0.1, 0.7, 0.1, 0.1], atol=0.03)  # 4 standard deviations

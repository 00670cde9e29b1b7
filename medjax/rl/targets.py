"""What a value is to become: the targets of Q-learning, of one transition.

Times: `tm1` is the state that is acted in, `t` the one after n steps.
"""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


def n_step(
    reward: Array, terminated: Array, truncated: Array, *, gamma: float
) -> tuple[Array, Array, Array]:
    """The discounted reward of up to n steps, never beyond the end of an episode.

    Args:
      reward, terminated, truncated: `[n]`, of the steps in order.

    Returns:
      The sum; the discount of the value that follows it (0 where the episode terminated: there is
      none; where it was truncated, there is); and the number of steps that were counted.
    """
    chex.assert_rank([reward, terminated, truncated], 1)
    ended = jnp.cumsum(terminated | truncated)
    counted = (ended - (terminated | truncated)) == 0  # no end before this step
    steps = counted.sum()
    factor = gamma ** jnp.arange(len(reward))
    total = jnp.where(counted, reward * factor, 0.0).sum()
    stops = (counted & terminated).any()
    return total, jnp.where(stops, 0.0, gamma**steps), steps


def q_target(reward: Array, discount: Array, target_q_t: Array, choose_q_t: Array) -> Array:
    """What Q of the state and action before is to be: `reward + discount * value`.

    Args:
      reward, discount: of `n_step`.
      target_q_t: `[action]`, of the target network, which tells the value.
      choose_q_t: `[action]`, which chooses the action: of the target network as well (Mnih et al.
        2015), or of the learning network (double Q-learning, van Hasselt et al. 2016).
    """
    chex.assert_rank([reward, discount, target_q_t, choose_q_t], [0, 0, 1, 1])
    return jax.lax.stop_gradient(reward + discount * target_q_t[jnp.argmax(choose_q_t)])

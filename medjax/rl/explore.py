"""How an agent explores: at random with a probability that falls, and differs between agents."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key


def epsilon_greedy(key: Key, q: Array, epsilon: Array) -> Array:
    """The best action by `q` `[action]`, or with probability `epsilon` any."""
    chex.assert_rank([q, epsilon], [1, 0])
    coin, choice = jax.random.split(key)
    anything = jax.random.randint(choice, (), 0, len(q))
    return jnp.where(jax.random.uniform(coin) < epsilon, anything, jnp.argmax(q))


def epsilon(
    step: Array,
    agent: Array,
    *,
    agents: int,
    first: float,
    last: float,
    steps: int,
    spread: float = 0.0,
) -> Array:
    """From `first` to `last` in a straight line over `steps`, then constant.

    With a `spread` alpha, agent i of N has that to the power `1 + alpha i / (N - 1)`, so that some
    explore and some follow what is known (Horgan et al. 2018, section 4).
    """
    part = jnp.clip(step / steps, 0.0, 1.0)
    common = first + part * (last - first)
    return common ** (1.0 + spread * agent / max(agents - 1, 1))

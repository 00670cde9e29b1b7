"""Teams: one agent a landmark, all in the same volume.

A team stays in a volume for `Rules.limit` steps: an agent that arrives begins anew elsewhere in
it, and at the limit all go to another volume. So no agent ever waits for another, and agents that
tell each other what they see always share a volume. Every leaf of a team's state begins with a
landmark axis.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from medjax.tasks.search import environment as search
from medjax.tasks.search import starts
from medjax.tasks.search.environment import AgentState, Levels, Rules, TimeStep, Volumes
from medjax.typing import Array, Key


def for_every_agent(function: Callable, **options: Any) -> Callable:
    """`function` of one agent for all of `[team, landmark]`; the options are the same for all."""
    return jax.vmap(jax.vmap(functools.partial(function, **options)))


def begin(key: Key, case: Array, *, volumes: Volumes, rules: Rules, margin: float) -> AgentState:
    """A team in volume `case`, each agent in its own place; `margin` as of `starts.anywhere`."""
    count = volumes.target.shape[1]

    def begin_agent(key: Key, landmark: Array) -> AgentState:
        place = starts.anywhere(key, volumes.shape[case], margin=margin)
        return search.start(place, case=case, landmark=landmark, level=jnp.int32(0), rules=rules)

    return jax.vmap(begin_agent)(jax.random.split(key, count), jnp.arange(count))


def begin_anywhere(key: Key, *, volumes: Volumes, rules: Rules, margin: float) -> AgentState:
    """A team in a volume drawn at random."""
    case_key, key = jax.random.split(key)
    case = starts.any_case(case_key, cases=len(volumes.shape))
    return begin(key, case, volumes=volumes, rules=rules, margin=margin)


def go_on(
    key: Key, team: AgentState, *, volumes: Volumes, rules: Rules, margin: float
) -> AgentState:
    """The team after those whose search has ended have begun anew."""
    here_key, there_key = jax.random.split(key)
    there = begin_anywhere(there_key, volumes=volumes, rules=rules, margin=margin)
    here = begin(here_key, team.case[0], volumes=volumes, rules=rules, margin=margin)
    here = here._replace(time=team.time)
    over = team.time[0] >= rules.limit  # for all at once, since time runs on
    ended = team.status != search.RUNNING

    def choose(there: Array, here: Array, now: Array) -> Array:
        wide = ended.reshape(-1, *(1,) * (now.ndim - 1))
        return jnp.where(over, there, jnp.where(wide, here, now))

    return jax.tree.map(choose, there, here, team)


def move(
    key: Key,
    agents: AgentState,
    action: Array,
    *,
    volumes: Volumes,
    levels: Levels,
    rules: Rules,
    margin: float,
) -> tuple[AgentState, AgentState, TimeStep]:
    """One step of all agents, `[team, landmark]`.

    Returns:
      The state from which they go on; the state that the step led to, before any began anew; and
      what the step brought.
    """
    chex.assert_rank(action, 2)
    step = for_every_agent(search.step, volumes=volumes, levels=levels, rules=rules)
    after, result = step(agents, action, jnp.zeros(action.shape))
    onward = jax.vmap(functools.partial(go_on, volumes=volumes, rules=rules, margin=margin))
    return onward(jax.random.split(key, len(action)), after), after, result

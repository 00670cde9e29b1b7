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


def begin(
    share: Array, case: Array, *, volumes: Volumes, rules: Rules, margin: float
) -> AgentState:
    """A team in volume `case`, each agent in its own place; `share` `[landmark, ndim]`, uniform in
    [0, 1), and `margin` are as of `starts.at_share`."""

    def begin_agent(share: Array, landmark: Array) -> AgentState:
        place = starts.at_share(share, volumes.shape[case], margin=margin)
        return search.start(place, case=case, landmark=landmark, level=jnp.int32(0), rules=rules)

    return jax.vmap(begin_agent)(share, jnp.arange(len(share)))


def begin_anywhere(key: Key, *, volumes: Volumes, rules: Rules, margin: float) -> AgentState:
    """A team in a volume drawn at random."""
    (share,), share_of_case = _draw(key, volumes, places=1)
    case = _case_at(share_of_case, volumes)
    return begin(share, case, volumes=volumes, rules=rules, margin=margin)


def _draw(key: Key, volumes: Volumes, *, places: int) -> tuple[Array, Array]:
    """Uniform numbers for places of all agents, `[places, landmark, ndim]`, and one for a volume.

    All are of one call, since on a CPU a step of few agents takes as long as its calls are many.
    """
    _, count, ndim = volumes.target.shape
    drawn = jax.random.uniform(key, (places * count * ndim + 1,))
    return drawn[1:].reshape(places, count, ndim), drawn[0]


def _case_at(share: Array, volumes: Volumes) -> Array:
    return starts.at_share(share[None], jnp.array([len(volumes.shape)]))[0]


def go_on(
    key: Key, team: AgentState, *, volumes: Volumes, rules: Rules, margin: float
) -> AgentState:
    """The team after those whose search has ended have begun anew."""
    shares, share_of_case = _draw(key, volumes, places=2)
    begin_in = functools.partial(begin, volumes=volumes, rules=rules, margin=margin)
    there = begin_in(shares[0], _case_at(share_of_case, volumes))
    here = begin_in(shares[1], team.case[0])
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

"""What every environment must keep to, checked by agents that move at random."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.tasks.search import environment as search
from medjax.tasks.search import teams
from medjax.tasks.search.environment import AgentState, Levels, Rules, Volumes
from medjax.typing import Array, Key


def check_random_episodes(
    key: Key, *, volumes: Volumes, levels: Levels, rules: Rules, agents: int = 8
) -> set[int]:
    """Plays teams of agents at random to their ends, under one jit.

    Agents stay inside their volumes and their scales; rewards and crops are finite; whoever has
    ended stays where it is and gets nothing; each episode ends exactly once, either by termination
    or by truncation; and the step is traced once.

    Returns:
      The kinds of ends that were seen, of `environment`.

    Raises:
      AssertionError: what is wrong.
    """
    traced = 0

    def advance(states: AgentState, key: Key):
        nonlocal traced
        traced += 1
        action = jax.random.randint(key, states.time.shape, 0, 2 * len(rules.crop))
        options = {"volumes": volumes, "levels": levels, "rules": rules}
        new, result = teams.for_every_agent(search.step, **options)(
            states, action, jnp.zeros(action.shape)
        )
        return new, result, teams.for_every_agent(search.observe, **options)(new)

    start_key, key = jax.random.split(key)
    states = jax.vmap(lambda k: teams.begin_anywhere(k, volumes=volumes, rules=rules, margin=0.0))(
        jax.random.split(start_key, agents)
    )
    run, ends = jax.jit(advance), np.zeros(states.time.shape, int)
    for i in range(rules.limit + 2):
        before = states
        states, result, observation = run(before, jax.random.fold_in(key, i))
        _check(before, states, result, observation, volumes, levels, rules)
        ends += np.asarray(result.terminated).astype(int) + np.asarray(result.truncated)
    assert traced == 1, f"the step was traced {traced} times"
    assert (ends == 1).all(), f"episodes ended {sorted(set(ends.ravel().tolist()))} times"
    return set(np.unique(states.status).tolist())


def _check(
    before: AgentState,
    after: AgentState,
    result: search.TimeStep,
    observation: Array,
    volumes: Volumes,
    levels: Levels,
    rules: Rules,
) -> None:
    shape = volumes.shape[after.case]
    inside = (after.position >= 0) & (after.position < shape)
    assert inside.all(), "an agent stands outside its volume"
    assert (after.level < len(levels.step)).all(), "an agent is beyond the last scale"
    assert np.isfinite(result.reward).all(), "a reward that is not finite"
    assert observation.shape == (*after.time.shape, *rules.crop, rules.history), (
        "the shape of a crop"
    )
    assert np.isfinite(observation).all(), "a crop that is not finite"
    ended = np.asarray(before.status != search.RUNNING)
    assert (np.asarray(result.reward)[ended] == 0).all(), "a reward after the end"
    same = (np.asarray(after.position) == np.asarray(before.position)).all(-1)
    assert same[ended].all(), "an agent moved after its end"

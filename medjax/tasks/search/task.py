"""Landmark search by deep Q-learning: act, remember, learn and search, each a pure function.

Mnih et al. 2015 (doi 10.1038/nature14236); Ghesu et al. 2019; Alansary et al. 2019.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from medjax.config import option
from medjax.ops.preprocess import Preprocessing
from medjax.rl import explore, replay, targets
from medjax.tasks.search import environment as search
from medjax.tasks.search import teams
from medjax.tasks.search.environment import AgentState, Levels, Rules, Volumes
from medjax.tasks.search.teams import for_every_agent
from medjax.typing import Array, Batch, Json, Key, Params, Tree

_LEAST = 1e-3  # priority, so that nothing is never drawn
VARIANTS = ("dqn", "double", "dueling", "dueling_double")


@dataclasses.dataclass(frozen=True)
class Learning:
    """How agents learn.

    Attributes:
      agents: teams at work at once.
      act_steps: moves of each between two updates.
      variant, margin: as of the predictor.
      discount: of the value after a step.
      n_step: so many rewards are summed before the value that follows.
      epsilon, epsilon_last, explore_steps, explore_spread: as of `explore.epsilon`.
      replay: steps of each team that are remembered.
      fill: of them, made at random before the first update.
      target_every: updates between two copies of the weights into the target network.
      priority: exponent of the error by which steps are drawn (Schaul et al. 2016); 0: uniformly.
    """

    agents: int = option(64, "searches at once, of each landmark", least=1)
    act_steps: int = option(1, "moves of each between two updates", least=1)
    variant: str = "double"
    discount: float = option(0.9, "of the value after a step")
    n_step: int = option(1, "rewards summed before the value that follows", least=1)
    epsilon: float = option(1.0, "share of moves made at random, at first...")
    epsilon_last: float = option(0.1, "...and after...")
    explore_steps: int = option(300, "...so many updates", least=1)
    explore_spread: float = option(
        0.0, "some agents explore less: exponents from 1 to 1 + this", least=0
    )
    replay: int = option(500, "steps of each agent that are remembered", least=1)
    fill: int = option(40, "of them, made at random before the first update", least=1)
    target_every: int = option(100, "updates between copies into the target network", least=1)
    priority: float = option(
        0.0, "exponent of the error that steps are drawn by; 0: uniformly", least=0
    )
    margin: float = 0.1

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r}: known are {', '.join(VARIANTS)}")


class Transition(NamedTuple):
    """One step of one agent, as the replay holds it; crops are cut again when it is drawn.

    Whole numbers are of the smallest type that holds the largest that there can be.
    """

    place: Array  # [ndim], where it stood...
    after: Array  # [ndim], ...and where it came to
    level: Array
    level_after: Array
    case: Array
    action: Array
    reward: Array  # float32
    terminated: Array  # bool
    truncated: Array  # bool


class World(NamedTuple):
    """All agents, `[team, landmark]`, and what they remember.

    Attributes:
      agents: where they are.
      ring: their last steps; rows of `[team, landmark]`.
      priority: `[length, team]`, what steps are drawn by.
    """

    agents: AgentState
    ring: replay.Ring
    priority: Array


class SearchOutcome(NamedTuple):
    """How searches ended: `[start, landmark]`.

    Attributes:
      point: `[start, landmark, ndim]`, voxels; NaN where the agent has left.
      steps: that it took.
      status: of `environment`.
    """

    point: Array
    steps: Array
    status: Array


class Game(NamedTuple):
    """What does not change while agents learn.

    Attributes:
      levels: the scales.
      rules: of the episodes in training.
      resting: of the searches when they are put to the test: they end by rest.
      learning: how agents learn.
    """

    levels: Levels
    rules: Rules
    resting: Rules
    learning: Learning

    def moves(self, volumes: Volumes) -> Json:
        """The options of `teams.move`."""
        return {
            "volumes": volumes,
            "levels": self.levels,
            "rules": self.rules,
            "margin": self.learning.margin,
        }


def populate(key: Key, volumes: Volumes, *, game: Game) -> World:
    """Agents that have moved at random for a while, and remember it."""
    learning, actions = game.learning, 2 * len(game.rules.crop)
    start_key, key = jax.random.split(key)
    begin = functools.partial(
        teams.begin_anywhere, volumes=volumes, rules=game.rules, margin=learning.margin
    )
    agents = jax.vmap(begin)(jax.random.split(start_key, learning.agents))
    # Teams begin at different ages, so that not all change their volume at once.
    age = jnp.arange(learning.agents) * game.rules.limit // learning.agents
    agents = agents._replace(time=jnp.broadcast_to(age[:, None], agents.time.shape))

    def make_empty(key: Key) -> World:
        _, row = _move(key, agents, agents.case, volumes, game)
        return World(
            agents,
            replay.create(row, length=learning.replay),
            jnp.zeros((learning.replay, learning.agents)),
        )

    def once(i: Array, world: World) -> World:
        act_key, move_key = jax.random.split(jax.random.fold_in(key, i))
        action = jax.random.randint(act_key, world.agents.case.shape, 0, actions)
        return _remember(world, *_move(move_key, world.agents, action, volumes, game))

    return jax.lax.fori_loop(0, learning.fill, once, make_empty(key))


def act(
    key: Key,
    q: Callable[[AgentState], Array],
    world: World,
    volumes: Volumes,
    step: Array,
    *,
    game: Game,
) -> World:
    """The moves of all agents between two updates; `step` counts updates."""
    learning = game.learning
    rate = jax.vmap(
        lambda i: explore.epsilon(
            step,
            i,
            agents=learning.agents,
            first=learning.epsilon,
            last=learning.epsilon_last,
            steps=learning.explore_steps,
            spread=learning.explore_spread,
        )
    )(jnp.arange(learning.agents))

    def once(world: World, key: Key) -> tuple[World, None]:
        act_key, move_key = jax.random.split(key)
        shape = world.agents.case.shape
        action = for_every_agent(explore.epsilon_greedy)(
            jax.random.split(act_key, shape),
            q(world.agents),
            jnp.broadcast_to(rate[:, None], shape),
        )
        return _remember(world, *_move(move_key, world.agents, action, volumes, game)), None

    return jax.lax.scan(once, world, jax.random.split(key, learning.act_steps))[0]


def _move(
    key: Key, agents: AgentState, action: Array, volumes: Volumes, game: Game
) -> tuple[AgentState, Transition]:
    onward, after, result = teams.move(key, agents, action, **game.moves(volumes))
    scales, cases, *sides = volumes.pixels.shape
    return onward, Transition(
        _small(agents.position, max(sides)),
        _small(after.position, max(sides)),
        _small(agents.level, scales),
        _small(after.level, scales),
        _small(agents.case, cases),
        _small(action, 2 * len(game.rules.crop)),
        result.reward,
        result.terminated,
        result.truncated,
    )


def _small(x: Array, count: int) -> Array:
    """Numbers below `count` in the smallest type that holds them."""
    return x.astype(
        next(t for t in (jnp.int8, jnp.int16, jnp.int32) if count - 1 <= jnp.iinfo(t).max)
    )


def _remember(world: World, agents: AgentState, row: Transition) -> World:
    at = world.ring.written % world.ring.length
    priority = world.priority.at[at].set(jnp.maximum(world.priority.max(), _LEAST))
    return World(agents, replay.add(world.ring, row), priority)


def draw(
    key: Key, world: World, volumes: Volumes, *, game: Game, batch: int
) -> tuple[Batch, tuple[Array, Array]]:
    """Remembered steps with their crops, `[batch, landmark, ...]`, and which steps they are."""
    rules, learning = game.rules, game.learning
    reach = {"before": rules.history - 1, "after": learning.n_step - 1}
    time, team, weight = replay.draw(
        key, world.ring, world.priority**learning.priority, count=batch, **reach
    )
    rows = jax.vmap(lambda t, a: replay.window(world.ring, t, a, **reach))(time, team)
    make_transition = functools.partial(transition, history=rules.history, gamma=learning.discount)
    past, level, action, reward, discount, after, level_after = jax.vmap(
        jax.vmap(make_transition, in_axes=1)
    )(rows)
    see = for_every_agent(search.crops, volumes=volumes, levels=game.levels, shape=rules.crop)
    case = rows.case[:, rules.history - 1].astype(jnp.int32)  # what is older may be of another
    return {
        "seen": see(past, case, level),
        "level": level,
        "action": action,
        "reward": reward,
        "discount": discount,
        "seen_after": see(after, case, level_after),
        "level_after": level_after,
        "weight": weight,
    }, (time, team)


def surprised(world: World, drawn: tuple[Array, Array], surprise: Array) -> World:
    """The world with the priorities that follow from errors `[batch]` of the steps drawn."""
    time, team = drawn
    return world._replace(
        priority=world.priority.at[time % world.ring.length, team].set(surprise + _LEAST)
    )


def transition(rows: Transition, *, history: int, gamma: float):
    """What is learned from the steps of one agent, `rows` `[history - 1 + n]`, oldest first.

    Returns:
      The positions that it saw, `[history, ndim]`, the newest first, and the level; the action;
      the reward of n steps and the discount of the value after them; and the positions and the
      level then. No history reaches into another episode, or to another level.
    """
    chex.assert_rank([rows.place, rows.reward], [2, 1])
    now = history - 1
    ended = rows.terminated | rows.truncated
    cut = ended | (rows.level != rows.level_after)
    reward, discount, steps = targets.n_step(
        rows.reward[now:], rows.terminated[now:], rows.truncated[now:], gamma=gamma
    )
    past = rows.place[replay.same_episode(cut[: now + 1])][::-1]
    last = now + steps - 1
    # A state after a truncated step still has its history: only a change of level cuts that.
    cut = cut.at[last].set(rows.level[last] != rows.level_after[last])
    before = last - (history - 2) + jnp.arange(history - 1)
    path = jnp.concatenate([rows.place[before], rows.after[last][None]])
    edges = jnp.concatenate([cut[before], jnp.array([False])])
    after = path[replay.same_episode(edges)][::-1]

    def to_int32(x: Array) -> Array:
        return x.astype(jnp.int32)

    return (
        to_int32(past),
        to_int32(rows.level[now]),
        to_int32(rows.action[now]),
        reward,
        discount,
        to_int32(after),
        to_int32(rows.level_after[last]),
    )


class SearchTask(NamedTuple):
    """The parts of a learner that have to do with its network.

    Attributes:
      init: `init(key) -> params`.
      q: `q(params, agents, volumes) -> [team, landmark, action]`.
      loss: `loss(key, params, stats, batch) -> value, (stats, logs)`; the batch has `target`, the
        parameters of the target network; the logs have `surprise` `[batch]`.
    """

    init: Callable[[Key], Params]
    q: Callable[[Params, AgentState, Volumes], Array]
    loss: Callable


def make(model: Any, *, num_landmarks: int, game: Game, preprocessing: Preprocessing) -> SearchTask:
    """The learner whose network is `model`, of crops and levels (`models.qnet.QNetwork`)."""
    rules, double = game.rules, game.learning.variant.endswith("double")

    def network(params: Params, crops: Array, level: Array) -> Array:
        """`crops` `[team, landmark, *crop, history]`."""
        inputs = preprocessing.standardise(preprocessing.unit(crops[..., None]))[..., 0]
        return model.apply({"params": params}, inputs, level)

    def init(key: Key) -> Params:
        crops = jnp.zeros((1, num_landmarks, *rules.crop, rules.history))
        return model.init(key, crops, jnp.zeros((1, num_landmarks), jnp.int32))["params"]

    def q(params: Params, agents: AgentState, volumes: Volumes) -> Array:
        see = for_every_agent(search.observe, volumes=volumes, levels=game.levels, rules=rules)
        return network(params, see(agents), agents.level)

    def loss(key: Key, params: Params, stats: Tree, batch: Any):
        now = network(params, batch["seen"], batch["level"])
        after = (batch["seen_after"], batch["level_after"])
        judged = network(batch["target"], *after)
        choosing = network(params, *after) if double else judged
        wanted = for_every_agent(targets.q_target)(
            batch["reward"], batch["discount"], judged, choosing
        )
        q_value = jnp.take_along_axis(now, batch["action"][..., None], -1)[..., 0]
        value = (batch["weight"][:, None] * optax.losses.huber_loss(q_value, wanted)).mean()
        return value, (
            stats,
            {"loss": value, "q": q_value.mean(), "surprise": jnp.abs(q_value - wanted).mean(1)},
        )

    return SearchTask(init, q, loss)


Policy = Callable[[Key, AgentState], Array]


def walk(
    key: Key, policy: Policy, volumes: Volumes, case: Array, places: Array, *, game: Game
) -> SearchOutcome:
    """Searches of volume `case` from `places` `[start, landmark, ndim]`, each to its end.

    Args:
      policy: the values of the actions, `[start, landmark, action]`; the largest is done.
    """

    def body(carry: tuple[Array, AgentState]) -> tuple[Array, AgentState]:
        i, agents = carry
        return i + 1, _onward(jax.random.fold_in(key, i), policy, agents, volumes, game)

    first = (jnp.int32(0), _at(case, places, game))
    _, agents = jax.lax.while_loop(
        lambda carry: (carry[1].status == search.RUNNING).any(), body, first
    )
    points = for_every_agent(search.answer, rules=game.resting)(agents)
    return SearchOutcome(points, agents.time, agents.status)


def trace(
    key: Key, policy: Policy, volumes: Volumes, case: Array, places: Array, *, game: Game
) -> tuple[Array, Array]:
    """As `walk`, but every position `[time, start, landmark, ndim]` and level on the way."""

    def body(agents: AgentState, i: Array) -> tuple[AgentState, tuple[Array, Array]]:
        where = agents.position, agents.level
        return _onward(jax.random.fold_in(key, i), policy, agents, volumes, game), where

    return jax.lax.scan(body, _at(case, places, game), jnp.arange(game.resting.limit))[1]


def _at(case: Array, places: Array, game: Game) -> AgentState:
    chex.assert_rank([case, places], [0, 3])

    def put(place: Array, landmark: Array) -> AgentState:
        return search.start(
            place, case=case, landmark=landmark, level=jnp.int32(0), rules=game.resting
        )

    return jax.vmap(jax.vmap(put), (0, None))(places, jnp.arange(places.shape[1]))


def _onward(
    key: Key, policy: Policy, agents: AgentState, volumes: Volumes, game: Game
) -> AgentState:
    values = policy(key, agents)
    step = for_every_agent(search.step, volumes=volumes, levels=game.levels, rules=game.resting)
    return step(agents, values.argmax(-1), values.max(-1))[0]

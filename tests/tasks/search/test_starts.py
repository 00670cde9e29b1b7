"""Where searches begin, and in teams."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from medjax.tasks.search import environment as search
from medjax.tasks.search import starts, teams
from medjax.tasks.search.environment import Levels, Rules, Volumes

LEVELS = Levels(jnp.array([1]), jnp.array([1]), jnp.array([0.5]))
SHAPES = np.array([[10, 20], [6, 9], [20, 20]])
VOLUMES = Volumes(
    jnp.zeros((1, 3, 22, 22), jnp.uint8),
    jnp.array([[21, 21]]),
    jnp.int32(1),
    jnp.asarray(SHAPES),
    jnp.tile(jnp.array([[2.0, 3.0], [4.0, 5.0]]), (3, 1, 1)),
    jnp.arange(3, dtype=jnp.uint32),
)
RULES = Rules((3, 3), limit=5)


def many(function, count=400):
    return np.asarray(jax.vmap(function)(jax.random.split(jax.random.key(0), count)))


def test_anywhere_leaves_the_margin_free_and_reaches_the_rest():
    places = many(lambda k: starts.anywhere(k, jnp.array([10, 20]), margin=0.2))
    assert set(places[:, 0]) == set(range(2, 8))
    assert set(places[:, 1]) == set(range(4, 16))
    assert set(many(lambda k: starts.anywhere(k, jnp.array([3])))[:, 0]) == {0, 1, 2}


def test_near_keeps_to_the_box_and_to_the_volume():
    places = many(lambda k: starts.near(k, jnp.array([10, 20]), jnp.array([1.0, 10.0]), radius=3.0))
    assert set(places[:, 0]) == {0, 1, 2, 3, 4}
    assert set(places[:, 1]) == set(range(7, 14))


def test_a_share_is_a_place_between_the_margins():
    ends = [starts.at_share(jnp.array([s]), jnp.array([10]), margin=0.2) for s in (0.0, 0.999999)]
    assert [int(place[0]) for place in ends] == [2, 7]
    places = many(lambda k: starts.at_share(jax.random.uniform(k, (2,)), jnp.array([3, 1])))
    assert set(places[:, 0]) == {0, 1, 2} and set(places[:, 1]) == {0}


def test_every_volume_is_drawn():
    begin = functools.partial(teams.begin_anywhere, volumes=VOLUMES, rules=RULES, margin=0.0)
    count = len(SHAPES)
    cases = many(lambda k: begin(k).case[0])
    np.testing.assert_allclose(np.bincount(cases) / 400, 1 / count, atol=0.1)  # 4 sd


def test_a_team_shares_a_volume_and_each_searches_its_own():
    begin = functools.partial(teams.begin_anywhere, volumes=VOLUMES, rules=RULES, margin=0.0)
    team = jax.vmap(begin)(jax.random.split(jax.random.key(1), 50))
    assert (team.case[:, 0] == team.case[:, 1]).all()
    assert (team.landmark == jnp.array([0, 1])).all()
    assert (team.position < SHAPES[np.asarray(team.case)]).all()
    assert (team.position[:, 0] != team.position[:, 1]).any()


def test_who_arrives_begins_anew_in_the_same_volume_and_at_the_limit_all_leave():
    move = functools.partial(teams.move, volumes=VOLUMES, levels=LEVELS, rules=RULES, margin=0.0)
    zero = jnp.int32(0)
    one = jax.vmap(lambda p, m: search.start(p, case=zero, landmark=m, level=zero, rules=RULES))(
        jnp.array([[2, 2], [9, 9]]), jnp.arange(2)
    )
    agents = jax.tree.map(lambda x: jnp.stack([x] * 40), one)
    right = jnp.full((40, 2), 2)
    onward, after, result = move(jax.random.key(0), agents, right)
    assert (after.status[:, 0] == search.ARRIVED).all()  # at (2, 3)
    assert result.terminated[:, 0].all()
    assert (onward.status == search.RUNNING).all()
    assert (onward.case == 0).all()
    assert (onward.time == 1).all()  # the team's time runs on
    assert len({tuple(p) for p in np.asarray(onward.position[:, 0]).tolist()}) > 20
    assert (onward.position[:, 1] == jnp.array([9, 10])).all()  # who searches on is left alone
    late = agents._replace(time=jnp.full_like(agents.time, 4))
    onward, _, result = move(jax.random.key(0), late, right)
    assert result.terminated[:, 0].all()  # arrived with its last step: that is no time-out
    assert not result.truncated[:, 0].any()
    assert result.truncated[:, 1].all()
    assert (onward.time == 0).all()
    assert (onward.case[:, 0] == onward.case[:, 1]).all()
    assert set(np.unique(onward.case)) == {0, 1, 2}

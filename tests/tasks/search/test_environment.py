"""The environment of landmark search, against steps worked out by hand and random episodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import comb
from medjax.tasks.search import environment as search
from medjax.tasks.search import kit
from medjax.tasks.search.environment import Levels, Rules, Volumes
from medjax.tasks.search.predictor import SearchPredictor

ONE = Levels(jnp.array([1]), jnp.array([1]), jnp.array([0.5]))
TWO = Levels(jnp.array([2, 1]), jnp.array([3, 1]), jnp.array([2.0, 0.5]))
UP, DOWN, RIGHT, LEFT = 1, 0, 2, 3  # of a picture [row, column]


def picture(target=(2.0, 5.0), shape=(5, 7), levels=1):
    """One padded picture of 5 x 7 whose pixels count from 1."""
    image = 1 + np.arange(np.prod(shape)).reshape(shape)
    return stored([image], [2, 1][-levels:], [[target]])


def stored(images, spacing, target):
    """Images as the environment takes them, with room for crops of 5."""
    shape = np.array([image.shape for image in images])
    largest = shape.max(0)
    size = comb.size_of(largest, spacing=spacing, room=2)
    whole = np.zeros((len(images), *largest), np.uint8)
    for into, image in zip(whole, images, strict=True):
        into[tuple(map(slice, image.shape))] = image
    pixels = jnp.stack(
        [
            jnp.stack([comb.comb(image, spacing=s, room=2, size=size) for image in whole])
            for s in spacing
        ]
    )
    tooth = comb.teeth(largest, spacing=spacing, room=2)
    return Volumes(
        pixels,
        jnp.asarray(tooth),
        jnp.int32(2),
        jnp.asarray(shape),
        jnp.asarray(target, jnp.float32),
        jnp.arange(len(images), dtype=jnp.uint32),
    )


def begin(position, rules, level=0):
    zero = jnp.int32(0)
    return search.start(
        jnp.array(position), case=zero, landmark=zero, level=jnp.int32(level), rules=rules
    )


def walk(state, moves, rules, *, volumes=None, levels=ONE, values=None):
    """The states and time steps of a walk."""
    volumes, seen = volumes or picture(), []
    for action, value in zip(moves, values or [0.0] * len(moves), strict=True):
        state, result = search.step(
            state,
            jnp.int32(action),
            jnp.float32(value),
            volumes=volumes,
            levels=levels,
            rules=rules,
        )
        seen.append((state, result))
    return seen


def test_actions_go_forth_and_back_along_each_axis():
    np.testing.assert_array_equal(search.actions(2), [[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert search.actions(3).shape == (6, 3)


@pytest.mark.parametrize(
    ("at", "level", "wanted"),
    [
        ((2, 3), 1, [[10, 11, 12], [17, 18, 19], [24, 25, 26]]),
        ((0, 0), 1, [[0, 0, 0], [0, 1, 2], [0, 8, 9]]),
        ((4, 6), 1, [[27, 28, 0], [34, 35, 0], [0, 0, 0]]),  # the padding beyond is not seen
        ((2, 3), 0, [[2, 4, 6], [16, 18, 20], [30, 32, 34]]),
    ],
)
def test_a_crop_has_what_lies_about_its_middle(at, level, wanted):
    rules = Rules((3, 3), history=2)
    found = search.observe(
        begin(at, rules, level), volumes=picture(levels=2), levels=TWO, rules=rules
    )
    assert found.shape == (3, 3, 2)
    np.testing.assert_array_equal(found[..., 0], wanted)
    np.testing.assert_array_equal(found[..., 1], wanted)  # it has stood nowhere else


def test_the_newest_crop_comes_first():
    rules = Rules((1, 1), history=3)
    (_, _), (state, _) = walk(begin((2, 2), rules), [RIGHT, DOWN], rules)
    seen = search.observe(state, volumes=picture(), levels=ONE, rules=rules)
    np.testing.assert_array_equal(seen[0, 0], [1 + 3 * 7 + 3, 1 + 2 * 7 + 3, 1 + 2 * 7 + 2])


@pytest.mark.parametrize(
    ("rules", "level", "move", "reward"),
    [
        ({}, 1, RIGHT, 1.0),  # 3 - 2
        ({"clip": 0.0}, 1, DOWN, 3 - 10**0.5),  # from (2, 2) to (3, 2)
        ({"reward": "squared", "clip": 0.0}, 1, RIGHT, 5.0),  # 9 - 4
        ({"reward": "squared"}, 1, RIGHT, 1.0),
        ({"clip": 0.0}, 0, RIGHT, 1.0),  # three voxels, in one step
        ({"reward": "squared", "clip": 0.0}, 0, RIGHT, 1.0),  # 9 / 3^2
    ],
)
def test_rewards_by_hand(rules, level, move, reward):
    rules = Rules((3, 3), **rules)
    ((_, result),) = walk(
        begin((2, 2), rules, level), [move], rules, levels=TWO, volumes=picture(levels=2)
    )
    assert float(result.reward) == pytest.approx(reward, abs=1e-6)


def test_outside_is_no_place_to_go():
    stay, leave = Rules((3, 3)), Rules((3, 3), outside="leave")
    ((state, result),) = walk(begin((0, 3), stay), [UP], stay)
    assert (state.position.tolist(), float(result.reward)) == ([0, 3], -1.0)
    assert not result.terminated
    first, second = walk(begin((4, 3), leave), [DOWN, UP], leave)  # 4 is the last row
    assert int(first[0].status) == search.LEFT
    assert first[1].terminated
    assert second[0].position.tolist() == [4, 3]
    assert jnp.isnan(search.answer(second[0], rules=leave)).all()
    assert (float(second[1].reward), bool(second[1].terminated)) == (0.0, False)


def test_who_leaves_goes_down_no_more():
    """Turned back at the border it stands where it stood, which would be a rest."""
    rules = Rules((3, 3), outside="leave", rests=True, visits=2)
    ((state, result),) = walk(
        begin((0, 3), rules), [UP], rules, levels=TWO, volumes=picture(levels=2)
    )
    assert (int(state.level), int(state.status)) == (0, search.LEFT)
    assert (state.position.tolist(), bool(result.terminated)) == ([0, 3], True)


def test_arriving_at_one_level_starts_the_next_and_at_the_last_ends():
    rules = Rules((3, 3))
    seen = walk(
        begin((2, 0), rules), [RIGHT, RIGHT, RIGHT], rules, levels=TWO, volumes=picture(levels=2)
    )
    state, result = seen[0]  # (2, 3): two voxels off
    assert (int(state.level), int(state.status)) == (1, search.RUNNING)
    assert not result.terminated
    assert state.past.tolist() == [[2, 3]] * 4
    state, result = seen[2]
    assert (state.position.tolist(), int(state.status)) == ([2, 5], search.ARRIVED)
    assert result.terminated
    assert not result.truncated


def test_patience_ends_without_an_end_of_the_search():
    rules = Rules((3, 3), limit=2)
    first, second, third = walk(begin((0, 0), rules), [DOWN, UP, DOWN], rules)
    assert not first[1].truncated
    assert second[1].truncated
    assert not second[1].terminated
    assert int(second[0].status) == search.TIMED_OUT
    assert not third[1].truncated  # told once
    one = Rules((3, 3), limit=1)  # arrives with its last step
    ((_, result),) = walk(begin((2, 4), one), [RIGHT], one)
    assert result.terminated
    assert not result.truncated


@pytest.mark.parametrize(
    ("answer", "column"),
    [
        ("centre", 25 / 6),  # of 4, 5, 4, 3, 4, 5, the rounds since it first stood here
        ("lowest", 3),  # 2.0, of the state three moves before; 0.0 lies further back than four
    ],
)
def test_where_an_agent_rests(answer, column):
    """Columns 3, 4, 5, 4, 3, 4, 5, 4: the fourth visit of 4 is after seven moves."""
    rules = Rules((3, 3), rests=True, visits=4, answer=answer)
    seen = walk(
        begin((2, 3), rules),
        [RIGHT, RIGHT, LEFT, LEFT] * 2,
        rules,
        values=[9.0, 9.0, 0.0, 9.0, 2.0, 9.0, 9.0, 9.0],
    )
    assert [int(s.status) for s, _ in seen] == [search.RUNNING] * 6 + [search.RESTED] * 2
    assert seen[6][1].terminated
    assert search.answer(seen[6][0], rules=rules).tolist() == pytest.approx([2, column])
    running = search.answer(seen[3][0], rules=rules)
    assert running.tolist() == [2, 3]  # it does not rest: where it stands


def test_the_answer_of_a_cycle_and_of_values():
    trail = jnp.array([[0, 0], [0, 2], [2, 2], [2, 0], [0, 0], [9, 9]])
    value = jnp.array([jnp.inf, 4.0, 1.0, 3.0, 0.5, 0.0])
    centre = search.resting_point(trail, value, rules=Rules((3, 3), answer="centre"))
    lowest = search.resting_point(trail, value, rules=Rules((3, 3), answer="lowest"))
    assert centre.tolist() == [1, 1]  # of the four before it comes back
    assert lowest.tolist() == [0, 0]  # 0.5, the fourth back; 0.0 is further


def test_rest_at_a_coarse_level_starts_the_next():
    rules = Rules((3, 3), rests=True, visits=2, answer="lowest")
    seen = walk(
        begin((2, 3), rules),
        [RIGHT, LEFT],
        rules,
        levels=TWO,
        volumes=picture(levels=2),
        values=[5.0, 1.0],
    )
    state, result = seen[-1]
    assert (int(state.level), state.position.tolist()) == (1, [2, 6])  # where Q was 1
    assert not result.terminated


def test_an_absent_landmark_gives_no_reward_and_no_end():
    rules = Rules((3, 3))
    for _, result in walk(
        begin((2, 2), rules), [RIGHT, DOWN], rules, volumes=picture(target=(jnp.nan, jnp.nan))
    ):
        assert float(result.reward) == 0.0
        assert not result.terminated


@pytest.mark.parametrize(
    "rules",
    [
        Rules((3, 5, 3), limit=30),
        Rules((5, 3, 3), reward="squared", outside="leave", limit=30),
        Rules((3, 3, 3), rests=True, answer="centre", limit=30, clip=0.0),
    ],
)
def test_random_episodes_keep_to_the_rules(rules):
    """Volumes of two shapes; every kind of reward, answer and end."""
    rng = np.random.default_rng(0)
    volumes = stored(
        [rng.integers(0, 255, (6, 8, 7)), rng.integers(0, 255, (8, 5, 8))],
        [2, 1],
        rng.uniform(1, 4, (2, 3, 3)),
    )
    ends = kit.check_random_episodes(jax.random.key(0), volumes=volumes, levels=TWO, rules=rules)
    assert ends <= {search.ARRIVED, search.RESTED, search.LEFT, search.TIMED_OUT}
    assert (search.RESTED in ends) == rules.rests
    assert (search.LEFT in ends) == (rules.outside == "leave")


def test_the_kit_finds_what_is_wrong(monkeypatch):
    """An agent that walks out of its volume; one whose reward is NaN."""
    volumes = stored([np.zeros((5, 5))], [1], [[[2.0, 2.0]]])
    wide = volumes._replace(shape=jnp.array([[8, 8]]))
    right = search.step
    play = functools.partial(
        kit.check_random_episodes,
        jax.random.key(0),
        volumes=volumes,
        levels=ONE,
        rules=Rules((3, 3), limit=30),
    )
    monkeypatch.setattr(search, "step", lambda *a, volumes, **k: right(*a, volumes=wide, **k))
    with pytest.raises(AssertionError, match="outside its volume"):
        play()
    monkeypatch.setattr(
        search,
        "step",
        lambda *a, **k: (right(*a, **k)[0], right(*a, **k)[1]._replace(reward=jnp.nan)),
    )
    with pytest.raises(AssertionError, match="reward that is not finite"):
        play()


def test_rules_that_nobody_knows_are_refused():
    with pytest.raises(ValueError, match="sides must be odd"):
        Rules((4, 3))
    with pytest.raises(ValueError, match="reward 'cubed': known are distance, squared"):
        Rules((3, 3), reward="cubed")


@pytest.mark.parametrize(("reward", "clip"), [("distance", 1.0), ("squared", 0.0)])
def test_the_square_of_a_distance_is_not_clipped_to_its_sign(reward, clip):
    predictor = SearchPredictor(reward=reward, voxel_mm=1.0, spacings_mm=(1.0,))
    assert predictor.game((40, 40, 40)).rules.clip == clip

"""Learning to search: what is learned from a step, by hand, and that agents learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.dataset import Split
from medjax.models.qnet import QNetwork
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.search import environment as env
from medjax.tasks.search import run as search_run
from medjax.tasks.search import starts, teams
from medjax.tasks.search import task as search
from medjax.tasks.search.environment import Levels, Rules
from medjax.tasks.search.task import Transition
from medjax.train import optim, step

T, F = True, False


def rows(
    place, after, *, level=None, level_after=None, reward=None, terminated=None, truncated=None
):
    """Steps along one axis."""
    n = len(place)
    level = level or [0] * n
    return Transition(
        jnp.array(place)[:, None],
        jnp.array(after)[:, None],
        jnp.array(level),
        jnp.array(level_after or level),
        jnp.zeros(n, int),
        jnp.arange(n),
        jnp.array(reward or [1.0] * n),
        jnp.array(terminated or [F] * n),
        jnp.array(truncated or [F] * n),
    )


def learned(steps, *, history=3, gamma=0.5):
    past, level, action, reward, discount, after, level_after = search.transition(
        steps, history=history, gamma=gamma
    )
    return (
        past[:, 0].tolist(),
        int(level),
        int(action),
        float(reward),
        float(discount),
        after[:, 0].tolist(),
        int(level_after),
    )


def test_a_step_amid_an_episode():
    found = learned(rows([5, 6, 7], [6, 7, 8]))
    assert found == ([7, 6, 5], 0, 2, 1.0, 0.5, [8, 7, 6], 0)


def test_history_begins_with_the_episode():
    steps = rows([5, 20, 21], [6, 21, 22], terminated=[T, F, F])
    assert learned(steps) == ([21, 20, 20], 0, 2, 1.0, 0.5, [22, 21, 20], 0)


def test_an_end_is_not_looked_beyond_but_a_cut_is():
    arrived = rows([5, 6, 7], [6, 7, 8], terminated=[F, F, T])
    assert learned(arrived)[4] == 0.0
    cut = rows([5, 6, 7], [6, 7, 8], truncated=[F, F, T])
    assert learned(cut)[4:] == (0.5, [8, 7, 6], 0)


def test_another_level_has_another_history():
    steps = rows([5, 6, 6], [6, 6, 7], level=[0, 0, 1], level_after=[0, 1, 1])
    assert learned(steps) == ([6, 6, 6], 1, 2, 1.0, 0.5, [7, 6, 6], 1)
    now = rows([5, 6, 7], [6, 7, 8], level=[0, 0, 0], level_after=[0, 0, 1])
    assert learned(now) == ([7, 6, 5], 0, 2, 1.0, 0.5, [8, 8, 8], 1)


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ({}, ([6, 5], 0, 1, 1 + 2 / 2 + 4 / 4, 0.125, [9, 8], 0)),
        ({"terminated": [F, F, T, F]}, ([6, 5], 0, 1, 1 + 2 / 2, 0.0, [8, 7], 0)),
        ({"truncated": [F, T, F, F]}, ([6, 5], 0, 1, 1.0, 0.5, [7, 6], 0)),
    ],
)
def test_rewards_of_three_steps(ends, wanted):
    steps = rows([5, 6, 7, 8], [6, 7, 8, 9], reward=[9.0, 1.0, 2.0, 4.0], **ends)
    assert learned(steps, history=2) == wanted


LEVELS = Levels(jnp.array([2, 1]), jnp.array([2, 1]), jnp.array([2.0, 1.0]))


@pytest.fixture(scope="module")
def blobs():
    """24 pictures of 24 x 24, each with one bright blob, which is to be found."""
    rng = np.random.default_rng(0)
    target = rng.uniform(5, 18, (24, 1, 2))
    grid = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), -1)
    far = np.linalg.norm(grid - target[:, :, None], axis=-1).reshape(24, 24, 24)
    pixels = (255 * np.exp(-far / 8)).astype(np.uint8)
    box = np.tile([[[0, 0], [24, 24]]], (24, 1, 1))
    split = Split(
        {"box": box, "landmarks": target},
        [""] * 24,
        [""] * 24,
        [{}] * 24,
        lambda i: pixels[i, ..., None],
        (24, 24, 1),
        pixels.dtype,
    )
    return search_run.on_device(split, game=built()[1])


def built(variant="double", **learning):
    rules = Rules((9, 9), history=2, limit=20, answer="centre")
    resting = Rules((9, 9), history=2, limit=60, answer="centre", rests=True)
    game = search.Game(
        LEVELS,
        rules,
        resting,
        search.Learning(
            agents=16,
            replay=100,
            fill=10,
            explore_steps=50,
            target_every=20,
            variant=variant,
            **learning,
        ),
    )
    model = QNetwork(1, 4, width=8, hidden=32, num_levels=2, dueling="dueling" in variant)
    task = search.make(
        model, num_landmarks=1, game=game, preprocessing=Preprocessing(0.0, 255.0, (0.4,), (0.3,))
    )
    optimizer = optim.make("adamw", learning_rate=3e-3, steps=1000)
    update = search_run.make_update(task, game=game, batch=32, ema_decay=0.0, optimizer=optimizer)
    create = functools.partial(search_run.create, task=task, game=game, optimizer=optimizer)
    advance = step.make_advance(update, lambda key, data, step, i: data)
    return task, game, jax.jit(create), jax.jit(advance)


def searched(task, game, params, volumes, cases=8):
    def one(case):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(5), case), (4, 1))
        places = jax.vmap(jax.vmap(lambda k: starts.anywhere(k, volumes.shape[case])))(keys)
        return search.walk(
            jax.random.key(0),
            lambda _, s: task.q(params, s, volumes),
            volumes,
            case,
            places,
            game=game,
        )

    found = jax.jit(jax.vmap(one))(jnp.arange(cases))
    return np.asarray(jnp.linalg.norm(found.point - volumes.target[:cases, None], axis=-1))


@pytest.mark.parametrize(
    ("variant", "learning"),
    [
        ("double", {}),
        pytest.param(
            "dueling",
            {"n_step": 2, "priority": 0.6, "explore_spread": 2.0},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_agents_learn_to_find_a_blob(blobs, variant, learning):
    task, game, create, advance = built(variant, **learning)
    key = jax.random.key(0)
    run = create(key, blobs)
    before = searched(task, game, run.learner.params, blobs)
    run, logs = advance(key, run, blobs, jnp.int32(400))
    after = searched(task, game, run.learner.params, blobs)
    assert np.nanmean(before) > 5
    assert np.nanmean(after) < 1.5
    assert int(logs["bad_step"]) == -1


def test_the_program_is_traced_once_and_one_seed_gives_one_result(blobs):
    _, _, create, advance = built()
    key = jax.random.key(3)

    def run(counts):
        state = create(key, blobs)
        for count in counts:
            state, _ = advance(key, state, blobs, jnp.int32(count))
        return jax.device_get(state)

    one, two = run([7]), run([3, 4])  # one program for any count; cut anywhere, the same result
    assert advance._cache_size() == 1
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_what_is_remembered_takes_few_bytes(blobs):
    _, _, create, _ = built()
    world = jax.eval_shape(create, jax.random.key(0), blobs).world
    per_step = sum(x.dtype.itemsize * np.prod(x.shape[3:]) for x in world.ring.rows)
    assert per_step + 4 <= 100  # and the priority of its team
    assert per_step == 2 * 1 + 2 * 1 + 1 + 1 + 1 + 1 + 4 + 1 + 1


@pytest.mark.parametrize(
    ("count", "kind"),
    [(128, jnp.int8), (129, jnp.int16), (2**15, jnp.int16), (2**15 + 1, jnp.int32)],
)
def test_numbers_are_remembered_in_a_type_that_holds_them(count, kind):
    found = search._small(jnp.int32(count - 1), count)
    assert found.dtype == kind
    assert int(found) == count - 1


def test_drawn_crops_are_those_that_were_seen_when_acting(blobs):
    """What is cut again from the replay equals what was noted down beside it, step by step."""
    task, game, create, _ = built()
    run = create(jax.random.key(1), blobs)
    see = teams.for_every_agent(
        functools.partial(env.observe, volumes=blobs, levels=LEVELS, rules=game.rules)
    )
    act = jax.jit(
        lambda key, world: search.act(
            key,
            lambda agents: task.q(run.learner.params, agents, blobs),
            world,
            blobs,
            jnp.int32(0),
            game=game,
        )
    )
    world, noted = run.world, {}
    for i in range(25):
        noted[int(world.ring.written)] = np.asarray(see(world.agents)), world.agents
        world = act(jax.random.key(i), world)
    batch, (time, team) = search.draw(jax.random.key(2), world, blobs, game=game, batch=256)
    seen, level, seen_after, discount, rows = jax.tree.map(
        np.asarray,
        (batch["seen"], batch["level"], batch["seen_after"], batch["discount"], world.ring.rows),
    )
    after = 0
    for i, (t, who) in enumerate(zip(*map(np.asarray, (time, team)), strict=True)):
        if int(t) not in noted:
            continue
        np.testing.assert_array_equal(seen[i], noted[int(t)][0][who])
        assert level[i, 0] == noted[int(t)][1].level[who, 0]
        terminated, truncated = (x[t % 100, who, 0] for x in (rows.terminated, rows.truncated))
        goes_on = not (terminated or truncated) and int(t) + 1 in noted
        if goes_on:
            np.testing.assert_array_equal(seen_after[i], noted[int(t) + 1][0][who])
            after += 1
        assert (discount[i, 0] == 0) == bool(terminated)
    assert after > 50


def test_random_versions_stand_behind_the_originals():
    """Shifted by up to a fifth: the bright voxel goes with its point, or it is left out."""
    images = np.zeros((3, 16, 16, 1), np.uint8)
    points = np.array([[[8.0, 8.0]], [[3.0, 12.0]], [[14.0, 14.0]]])
    for image, point in zip(images, points.astype(int), strict=True):
        image[tuple(point[0])] = 255
    split = Split(
        {"box": np.tile([[[0, 0], [16, 16]]], (3, 1, 1)), "landmarks": points},
        ["a", "b", "c"],
        ["a", "b", "c"],
        [{}] * 3,
        lambda i: images[i],
        (16, 16, 1),
        images.dtype,
    )
    how = Augmentation(translate=0.2)
    every = search_run.vary(jax.random.key(0), split, copies=4, augmentation=how)
    assert every.case_id[:3] == ["a", "b", "c"]
    assert set(every.case_id[3:]) >= {"a", "b"}
    assert len(every) < 15  # some of c went out
    np.testing.assert_array_equal(every.read(2), images[2])
    for i in range(3, len(every)):
        image, point = every.read(i)[..., 0], every["landmarks"][i, 0]
        assert np.abs(np.unravel_index(image.argmax(), image.shape) - point).max() <= 0.51
    assert len({p.tobytes() for p in every["landmarks"]}) == len(every)


def test_points_of_both_sides_change_places_in_a_mirror_image():
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[0, 8, 2], image[0, 8, 13] = 255, 128  # left is bright
    split = Split(
        {"box": np.array([[[0, 0], [16, 16]]]), "landmarks": np.array([[[8.0, 2.0], [8.0, 13.0]]])},
        ["a"],
        ["a"],
        [{}],
        lambda i: image[i],
        (16, 16, 1),
        image.dtype,
    )
    how = Augmentation(flip=(1,))
    every = search_run.vary(
        jax.random.key(0), split, copies=8, augmentation=how, mirrored=((0, 1),)
    )
    mirrored = [i for i in range(1, 9) if every.read(i)[8, 13, 0] == 255]
    assert 0 < len(mirrored) < 8
    for i in range(9):
        np.testing.assert_allclose(every["landmarks"][i], [[8, 2], [8, 13]], atol=1e-4)

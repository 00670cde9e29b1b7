"""The task of temporal localisation: losses by hand, parts of sequences, streaming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.temporal import task as temporal
from medjax.train import supervised

SHAPE = (5, 16, 16, 1)
SCALING = Preprocessing(0.0, 255.0, (0.5,), (0.3,))
KIND = {"cyclic": False, "structure": 0.0, "ratio": jnp.ones(1)}


def value(loss, outputs, marks, count, **changes):
    outputs, marks = jnp.asarray(outputs, jnp.float32), jnp.asarray(marks, jnp.float32)
    return float(
        temporal._value(
            outputs,
            marks,
            jnp.int32(count),
            jnp.arange(len(marks)) < count,
            loss=loss,
            **{**KIND, **changes},
        )
    )


def test_cross_entropy_over_frames_sees_real_ones_only():
    """Two real frames with equal outputs: log 2."""
    assert value("time", [[1.0], [1.0], [50.0]], [[1], [0], [0]], 2) == pytest.approx(np.log(2))


def test_a_name_that_no_frame_has_costs_nothing():
    assert value("time", [[1.0], [3.0]], [[0], [0]], 2) == 0.0


def test_joint_is_a_yes_or_no_for_each():
    """Outputs 0 cost log 2 each; a rare name's frame three times as much; the padding nothing."""
    marks = [[1, 0], [0, 0], [1, 1]]
    outputs = np.zeros((3, 2))
    ratio = jnp.array([3.0, 1.0])
    assert value("joint", outputs, marks, 2, ratio=ratio) == pytest.approx(
        (3 + 1 + 1 + 1) * np.log(2) / 2
    )


def test_softmax_has_a_class_of_its_own_for_none():
    """Outputs 0 over three classes cost log 3 a frame; frame 1 has no name."""
    marks = [[1, 0], [0, 0]]
    assert value("softmax", np.zeros((2, 3)), marks, 2) == pytest.approx(np.log(3))
    assert value(
        "softmax", np.zeros((2, 3)), marks, 2, ratio=jnp.array([5.0, 1.0])
    ) == pytest.approx((5 + 1) * np.log(3) / 2)


def test_the_curve_costs_its_squared_distance():
    """ED 0, ES 2 of 4 frames: 1, 1/8, 0, (1/2)^(1/3)."""
    marks = [[1, 0], [0, 0], [0, 1], [0, 0]]
    target = np.array([1, 0.125, 0, 0.5 ** (1 / 3)])
    assert value("curve", target[:, None] + 0.1, marks, 4, cyclic=True) == pytest.approx(0.01)
    assert value("curve", np.zeros((4, 1)), marks, 4, cyclic=True) == pytest.approx(
        (target**2).mean()
    )


@pytest.mark.parametrize("cyclic", [False, True])
def test_random_parts_keep_frames_and_marks_together(cyclic):
    frames = jnp.arange(10.0)[:, None, None, None]
    marks = jnp.zeros((10, 1), jnp.uint8).at[3, 0].set(1)
    for seed in range(20):
        part, mark, count = temporal._part(
            jax.random.key(seed),
            frames,
            marks,
            jnp.int32(7),
            cyclic=cyclic,
            window=0 if cyclic else 5,
            reverse=not cyclic,
        )
        seen = np.asarray(part[: int(count), 0, 0, 0]).astype(int)
        assert int(count) == (7 if cyclic else 5)
        assert set(np.diff(seen) % 7) == {1} if cyclic else set(np.diff(seen)) in ({1}, {-1})
        np.testing.assert_array_equal(mark[: int(count), 0], seen == 3)
        assert part.max() <= 6


@pytest.fixture(scope="module")
def task():
    model = models.over_time("cnn", recurrence="lstm", features=8, hidden=8, outputs=3)
    return model, temporal.make(
        model,
        image_shape=SHAPE,
        preprocessing=SCALING,
        augmentation=Augmentation(rotate_degrees=10.0),
        loss="softmax",
    )


def test_streaming_gives_the_scores_of_the_whole(task):
    model, made = task
    frames = np.random.default_rng(0).integers(0, 255, (2, 5, 16, 16, 1)).astype(np.uint8)
    length = jnp.array([5, 5])
    variables = model.init(jax.random.key(0), jnp.zeros(frames.shape), length, train=False)
    params, stats = variables["params"], variables["batch_stats"]
    whole = jax.jit(made.predict)(params, stats, {"image": frames, "length": length})["score"]
    np.testing.assert_array_less(whole.sum(-1), 1.0)
    stream = temporal.make_stream(model, preprocessing=SCALING, loss="softmax")
    carry, step = stream.begin(params, stats, frames[:, 0]), jax.jit(stream.step)
    for t in range(5):
        carry, found = step(params, stats, carry, frames[:, t])
        np.testing.assert_allclose(found, whole[:, t], atol=1e-5)


@pytest.mark.parametrize(
    ("recurrence", "cyclic", "smooth", "why"),
    [
        ("tcn", False, 1, "tcn looks ahead"),
        ("bilstm", False, 1, "bilstm looks ahead"),
        ("gru", True, 1, "of a cycle the first frame follows the last"),
        ("gru", False, 3, "scores are means over 3 frames"),
    ],
)
def test_what_frame_by_frame_would_be_another_answer_is_refused(recurrence, cyclic, smooth, why):
    model = models.over_time("mlp", recurrence=recurrence, features=4, hidden=4, outputs=1)
    stream = temporal.make_stream(
        model, preprocessing=SCALING, loss="time", cyclic=cyclic, smooth=smooth
    )
    with pytest.raises(UserError, match=f"answers cannot be given frame by frame: {why}"):
        stream.begin({}, {}, jnp.zeros((1, 8, 8, 1)))


def test_a_gradient_reaches_every_weight(task):
    model, made = task
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 255, (2, 5, 16, 16, 1)), jnp.uint8),
        "marks": jnp.asarray(rng.random((2, 5, 2)) < 0.3, jnp.uint8),
        "length": jnp.array([5, 4]),
    }
    variables = model.init(
        jax.random.key(0), jnp.zeros((2, 5, 16, 16, 1)), batch["length"], train=False
    )
    gradient = jax.jit(
        jax.grad(lambda p: made.loss(jax.random.key(1), p, variables["batch_stats"], batch)[0])
    )(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize(("lengths", "size"), [([2, 1], 2), ([2, 3], 4), ([5, 8], 8)])
def test_frames_beyond_the_longest_of_a_batch_are_not_computed(task, lengths, size):
    model, _ = task
    made = temporal.make(model, image_shape=SHAPE, preprocessing=SCALING, loss="softmax")
    rng = np.random.default_rng(0)
    real = np.arange(8) < np.array(lengths)[:, None]
    images = rng.integers(0, 255, (2, 8, 8, 8, 1)) * real[..., None, None, None]
    batch = {
        "image": jnp.asarray(images, jnp.uint8),
        "marks": jnp.asarray((rng.random((2, 8, 2)) < 0.3) & real[..., None], jnp.uint8),
        "length": jnp.array(lengths),
    }
    variables = model.init(
        jax.random.key(0), jnp.zeros((2, 8, 8, 8, 1)), batch["length"], train=False
    )
    seen = []

    def update(key, state, batch):
        seen.append(batch["image"].shape[1])
        return made.loss(key, *state, batch)

    short = supervised.shorten(update, sizes=(2, 4, 8))
    key, state = jax.random.key(1), (variables["params"], variables["batch_stats"])
    found, (stats, _) = jax.jit(short)(key, state, batch)
    assert sorted(seen) == [2, 4, 8]
    cut = {**batch, "image": batch["image"][:, :size], "marks": batch["marks"][:, :size]}
    expected, (wanted, _) = jax.jit(update)(key, state, cut)
    assert found == pytest.approx(float(expected), rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), stats, wanted)


def test_scores_are_the_mean_over_views():
    network = models.over_time("cnn", recurrence="none", features=4, hidden=4, outputs=2)
    how = Augmentation(rotate_degrees=20.0)

    def make(views):
        return temporal.make(
            network,
            image_shape=SHAPE,
            preprocessing=SCALING,
            loss="time",
            augmentation=how,
            views=views,
        )

    params, stats = make(1).init(jax.random.key(0))
    images = jax.random.randint(jax.random.key(1), (2, *SHAPE), 0, 255).astype(jnp.uint8)
    batch = {"image": images, "length": jnp.array([5, 3])}
    first, second = (make(n).predict(params, stats, batch)["score"] for n in (1, 2))
    again = make(2).predict(params, stats, {k: v[:1] for k, v in batch.items()})["score"]
    assert float(jnp.abs(first - second).max()) > 1e-5
    np.testing.assert_allclose(again, second[:1], atol=1e-5)

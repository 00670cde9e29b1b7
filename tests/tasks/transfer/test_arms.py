"""What arms train on, and where their weights begin."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.models.features import extract_features
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.transfer import arms, features, plan, tables
from medjax.tasks.transfer.probe import DECAYS, Probe, fit_probes
from medjax.train import feed
from medjax.train.options import TrainingOptions

LABEL = np.array([0, 1, 2] * 8 + [0] * 6)
EACH = np.arange(len(LABEL))  # every image is its own subject
OPTIONS = TrainingOptions(steps=6, batch=4, seeds=2, seed=3)
KEYS = arms.data_keys(OPTIONS)
LEARNT = {"options": OPTIONS, "learnt": ()}
PIXELS = Preprocessing(0.0, 255.0, (0.5,), (0.25,))


def small_network(classes=3):
    net = models.classifier("cnn", num_classes=classes)
    made = net.init(jax.random.key(1), jnp.zeros((1, 16, 16, 1)), train=False)
    return net, {"params": made["params"], "batch_stats": made.get("batch_stats", {})}


def small_split(rng, count=10):
    images = rng.integers(0, 255, (count, 16, 16, 1), dtype=np.uint8)
    names = [str(i) for i in range(count)]
    label = {"label": np.arange(count) % 3}
    return Split(label, names, names, [{}] * count, lambda i: images[i], (16, 16, 1), images.dtype)


def test_a_size_has_as_many_of_each_class_and_a_smaller_one_is_its_beginning():
    small, large = (arms.choose_rows(KEYS, LABEL, size) for size in ("3", "8"))
    assert small.shape == (2, 9) and large.shape == (2, 24)
    np.testing.assert_array_equal(small, large[:, :9])
    assert (LABEL[large] == np.arange(24) % 3).all()
    assert all(len(set(row.tolist())) == 24 for row in large)
    assert (large[0] != large[1]).any()


@pytest.mark.parametrize("size", ["3", "all"])
def test_an_update_sees_examples_of_its_size_in_the_order_of_any_training(size):
    named = plan.name_examples(LABEL, size, OPTIONS)
    order = np.asarray(named["order"])
    assert order.shape == (2, 6, 4)
    rows = arms.choose_rows(KEYS, LABEL, size)
    for seed in range(2):
        assert set(order[seed].reshape(-1)) <= set(rows[seed].tolist())
        np.testing.assert_array_equal(named["keys"][seed], jax.random.key_data(KEYS[seed]))
    if size == "all":
        expected = feed.batch_index(KEYS[1], jnp.int32(5), size=len(LABEL), batch=4)
        np.testing.assert_array_equal(order[1, 5], expected)
    else:  # two epochs and more of nine
        assert set(order[0].reshape(-1)) == set(rows[0].tolist())


def test_folds_have_equal_shares_of_each_class():
    for size in ("5", "all"):
        rows = arms.choose_rows(KEYS, LABEL, size)
        fold, folds = arms.choose_folds(LABEL, rows, EACH)
        assert folds == 5 and fold.shape == rows.shape
        counts = np.array(
            [np.bincount(LABEL[rows[0]][fold[0] == f], minlength=3) for f in range(folds)]
        )
        assert (counts.max(0) - counts.min(0) <= 1).all()


def test_no_fold_parts_a_subject():
    subject = np.arange(len(LABEL)) // 2  # pairs in a row, of one class
    for size in ("4", "all"):
        rows = arms.choose_rows(KEYS, LABEL, size)
        fold, folds = arms.choose_folds(LABEL, rows, subject)
        assert folds > 1
        for mine, my_fold in zip(rows, fold, strict=True):
            assert len(set(my_fold)) == folds
            for who in set(subject[mine]):
                assert len(set(my_fold[subject[mine] == who])) == 1
    one = np.zeros(len(LABEL), int)
    np.testing.assert_array_equal(
        arms.choose_folds(LABEL, rows, one)[0],
        arms.choose_folds(LABEL, rows, EACH)[0],
    )


def test_subjects_of_several_classes_are_whole_too():
    """As slices of a volume, a class each: every class is in every fold all the same."""
    subject, label = np.repeat(np.arange(6), 3), np.tile([0, 1, 2], 6)
    rows = np.arange(18)[None]
    fold, folds = arms.choose_folds(label, rows, subject)
    assert folds == 5
    for number in range(folds):
        assert set(label[fold[0] != number]) == {0, 1, 2}
    assert all(len(set(fold[0][subject == who])) == 1 for who in range(6))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("9", "class b has 8 training images"),
        ("1", "give numbers from 2 on, and `all`"),
        ("few", "give numbers from 2 on"),
    ],
)
def test_sizes_that_cannot_be_are_told(size, message):
    with pytest.raises(UserError, match=message):
        check_set(["2", size])
    check_set(["8", "all"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("metadata", {}, "the set has no metadata; name columns"),
        ("late_fusion", {"image_shape": (4, 4, 4, 1)}, "late_fusion: of 2-D images"),
        ("svm", {"info": DatasetInfo("x", findings=("a",))}, "svm and knn are of classes"),
    ],
)
def test_what_an_arm_needs_and_the_set_has_not_is_told(name, options, message):
    with pytest.raises(UserError, match=message):
        check_set(["2"], names=["scratch", name], **options)


def check_set(sizes, *, names=("scratch",), image_shape=(8, 8, 1), info=None):
    count = len(LABEL)
    train = Split(
        {"label": LABEL}, [""] * count, [""] * count, [{}] * count, None, image_shape, np.uint8
    )
    arms.check_set(names, sizes, train, info or DatasetInfo("x", ("a", "b", "c")), **LEARNT)


def test_images_with_findings_are_counted_by_their_rarest():
    """Findings a, b and c stand in 4, 2 and 0 images; whoever has a and b is counted by b."""
    present = np.array([[1, 0, 0], [1, 1, 0], [1, 1, np.nan], [1, 0, 0], [0, 0, 0]], float)
    train = Split({"findings": present}, [""] * 5, [""] * 5, [{}] * 5, None, (8, 8, 1), np.uint8)
    info = DatasetInfo("x", findings=("a", "b", "c"))
    number, names = arms.group_images(train, info)
    assert names == ["a", "b", "no finding"]
    assert number.tolist() == [0, 1, 1, 0, 2]
    with pytest.raises(UserError, match="class no finding has 1 training images"):
        arms.check_set(["scratch"], ["2"], train, info, **LEARNT)


def test_features_are_what_the_last_layer_is_given(rng):
    net, variables = small_network()
    images = jnp.asarray(rng.normal(size=(4, 16, 16, 1)), jnp.float32)
    found = extract_features(net, variables, images)
    head = variables["params"]["fc"]["linear"]
    logits = net.apply(variables, images, train=False)
    np.testing.assert_allclose(found @ head["kernel"] + head["bias"], logits, atol=1e-5)


def test_a_network_without_such_a_layer_is_told():
    net = models.SEGMENTERS["meshnet"](num_outputs=2)
    made = net.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), train=False)
    with pytest.raises(UserError, match="its last layer is not called 'fc'"):
        extract_features(net, made, jnp.zeros((1, 16, 16, 1)))


def test_features_are_computed_once(rng, tmp_path, monkeypatch):
    net, variables = small_network()
    split = small_split(rng)

    def compute(known_by):
        return features.compute_features(
            net, variables, PIXELS, split, batch=4, what="train", cache=tmp_path, known_by=known_by
        )

    first = compute(("set", "weights"))
    scaled = PIXELS.standardise(PIXELS.unit(split.images(range(10))))
    expected = extract_features(net, variables, scaled)
    np.testing.assert_allclose(first[:, 0], expected, atol=1e-5)
    monkeypatch.setattr(features, "extract_features", None)
    np.testing.assert_array_equal(compute(("set", "weights")), first)
    with pytest.raises(TypeError):
        compute(("set", "other weights"))


def test_a_frozen_network_answers_as_its_probes(rng):
    net, variables = small_network()
    images = jnp.asarray(rng.normal(size=(4, 16, 16, 1)), jnp.float32)
    x = extract_features(net, variables, images)
    probes = Probe(rng.normal(size=(2, x.shape[1], 3)), rng.normal(size=(2, 3)))
    params, stats = arms.freeze(variables, probes)
    keys = arms.seed_keys(OPTIONS)
    begin = arms.with_probes(
        lambda key: (variables["params"], variables["batch_stats"]), probes, keys
    )
    for seed in range(2):
        expected = x @ probes.kernel[seed] + probes.bias[seed]
        mine = jax.tree.map(lambda a, seed=seed: a[seed], (params, stats))
        for weights in (mine, begin(keys[seed])):
            answer = net.apply(
                {"params": weights[0], "batch_stats": weights[1]}, images, train=False
            )
            np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_no_probe_learns_from_rows_that_are_not_its_own(rng):
    """Test rows, or those of a larger size, change neither the scaling, nor the decay, nor it."""
    x = rng.normal(size=(len(LABEL), 5)).astype(np.float32)
    rows = arms.choose_rows(KEYS, LABEL, "4")
    fold, folds = arms.choose_folds(LABEL, rows, EACH)
    others = np.setdiff1d(np.arange(len(LABEL)), rows[0])
    wild = x.copy()
    wild[others] += 1000
    fits = [
        fit_probes(table, np.eye(3)[LABEL], rows[:1], fold[:1], folds=folds) for table in (x, wild)
    ]
    for a, b in zip(*map(jax.tree.leaves, fits), strict=True):
        np.testing.assert_array_equal(a, b)
    assert fits[0][1][0] in np.float32(DECAYS)


@pytest.mark.parametrize("name", ["svm", "knn"])
def test_no_table_learns_from_rows_that_are_not_its_own(name, rng):
    """Neither from those of a larger size, nor from those that are asked of."""
    x = rng.normal(size=(len(LABEL), 5)).astype(np.float32) + 2 * np.eye(5)[LABEL]
    rows = arms.choose_rows(KEYS, LABEL, "6")
    wild, test = x.copy(), rng.normal(size=(7, 5))
    wild[np.setdiff1d(np.arange(len(LABEL)), rows)] += 1000
    p, own = arms.predict_tables(name, x, LABEL, KEYS, "6", subject=EACH, asked=[test, x])
    (again,) = arms.predict_tables(name, wild, LABEL, KEYS, "6", subject=EACH, asked=[test])
    with_more = arms.predict_tables(
        name, x, LABEL, KEYS, "6", subject=EACH, asked=[np.r_[test, 1e3 + test]]
    )
    np.testing.assert_array_equal(p, again)
    np.testing.assert_array_equal(p, with_more[0][:, :7])
    assert p.shape == (2, 7, 3) and p.sum(-1) == pytest.approx(1)
    assert (own.argmax(-1) == LABEL)[0, rows[0]].mean() > 0.6  # a third by chance
    assert (p[0] != p[1]).any()


def test_a_feature_that_is_all_but_constant_turns_no_order_round(rng):
    """It is about 1e-9 but for one example, whose own fold has not seen such a thing."""
    label = np.arange(60) % 2
    x = rng.normal(size=(60, 4)) + 3 * label[:, None]
    x[:, 3] = 1e-9 * (label + rng.normal(size=60) / 4)
    x[4, 3] = 1.0
    fold = np.arange(60) // 2 % 5
    asked = rng.normal(size=(40, 4)) + 3 * (np.arange(40) % 2)[:, None]
    asked[:, 3] = 0
    (p,) = tables.predict_svm(x, label, fold, [asked])
    assert (p.argmax(1) == np.arange(40) % 2).mean() > 0.9 and p[:, 1].std() > 0.2


def test_a_decision_that_says_nothing_turns_no_order_round():
    """Held-out decisions that are the wrong way round, and tiny ones that are the right way."""
    label = np.array([0, 1] * 20)
    wrong = np.where(label == 1, -1.0, 1.0) + np.linspace(0, 0.5, 40)
    assert (tables.fit_sigmoids(np.stack([-wrong, wrong], 1), label)[:, 0] == 0).all()
    tiny = 1e-9 * (label + np.linspace(0, 2, 40))
    slopes = tables.fit_sigmoids(np.stack([-tiny, tiny], 1), label)[:, 0]
    assert (slopes > 1e8).all()


@pytest.mark.parametrize("size", ["4", "all"])
def test_a_neighbour_is_near_by_its_angle_and_not_by_its_length(size):
    x = np.eye(3)[LABEL] * np.arange(1, 1 + len(LABEL))[:, None]
    asked = np.array([[9.0, 1, 0], [0, 0.01, 0], [1, 0, 400]])
    (p,) = arms.predict_tables("knn", x, LABEL, KEYS, size, subject=EACH, asked=[asked])
    assert (p.argmax(-1) == [0, 1, 2]).all()


def test_images_as_rows_of_pixels_keep_what_is_small(rng):
    split = small_split(rng)
    found = features.pool_pixels(PIXELS, split, batch=4, what="train")
    images = np.stack([split.read(i) for i in range(10)])
    np.testing.assert_allclose(found, images.reshape(10, -1) / 255, atol=1e-6)
    wide = dataclasses.replace(
        split, read=lambda i: np.full((64, 16, 1), i, np.uint8), image_shape=(64, 16, 1)
    )
    pooled = features.pool_pixels(PIXELS, wide, batch=4, what="train")
    assert pooled.shape == (10, 32 * 16)
    np.testing.assert_allclose(pooled[:, 0], np.arange(10) / 255, atol=1e-6)


def test_a_set_that_no_device_holds_is_refused(rng, monkeypatch):
    monkeypatch.setattr(plan.supervised, "RESIDENT_BYTES", 100)
    with pytest.raises(UserError, match="give a smaller `image_size`"):
        plan.plan_arms(
            None, small_split(rng), options=OPTIONS, evaluate=dict, score="auc", higher=True
        )


def test_a_size_whose_folds_lack_a_class_is_told_before_anything_is_trained():
    """Each class has one subject, so that a fold without it has none."""
    train = Split(
        {"label": LABEL},
        [""] * len(LABEL),
        [f"s{y}" for y in LABEL],
        [{}] * len(LABEL),
        None,
        (8, 8, 1),
        np.uint8,
    )
    info = DatasetInfo("x", ("a", "b", "c"))
    with pytest.raises(UserError, match="with `train_sizes=4`, svm is fitted without each of"):
        arms.check_set(["scratch", "svm"], ["4"], train, info, **LEARNT)


def test_classes_are_not_told_by_what_they_are_made_of():
    facts = [{"site": "arm", "age": "60"}] * len(LABEL)
    train = Split(
        {"label": LABEL}, [""] * len(LABEL), [""] * len(LABEL), facts, None, (8, 8, 1), np.uint8
    )
    assert arms.usable_facts(train, learnt=("site",)) == ("age",)
    assert arms.usable_facts(train, learnt=()) == ("site", "age")

"""What embeddings are trained to do, and what is fitted on a gallery."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from medjax.data.dataset import Dataset, Split
from medjax.data.folds import number_folds
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.ops.barcode import barcode
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.embedding import forest, objectives, task, transforms
from medjax.tasks.embedding.predictor import EmbeddingPredictor
from medjax.tasks.embedding.retrieval import RetrievalOptions, check_images, check_options

NOTHING = Augmentation()


def flatten(images):
    return images.reshape(len(images), -1)


def gallery_of(label, subjects=None):
    names = [str(i) for i in range(len(label))]
    blank = np.zeros((1, 1, 1), np.float32)
    return Split(
        {"label": np.asarray(label)},
        names,
        subjects or names,
        [{}] * len(label),
        lambda i: blank,
        (1, 1, 1),
        blank.dtype,
    )


@pytest.mark.parametrize("space", [(16, 24), (8, 8, 8), (5, 16)])
def test_whole_patches_are_hidden_as_many_as_asked_for(space):
    hidden = np.asarray(objectives.draw_mask(jax.random.key(0), space=space, mask_ratio=0.6))
    assert hidden.shape == space
    patches = [min(8, n) for n in space]
    count = round(0.6 * np.prod(patches))
    corners = hidden[
        np.ix_(*[-(-np.arange(p) * n // p) for p, n in zip(patches, space, strict=True)])
    ]
    assert corners.sum() == count


def test_filling_in_counts_what_was_hidden_alone():
    """Whoever fills in the image itself has no loss; an error where nothing is hidden is free."""
    images = jnp.asarray(np.random.default_rng(0).random((2, 8, 8, 1)), jnp.float32)
    objective = objectives.fill_masks(NOTHING, mask_ratio=0.5, image_shape=(8, 8, 1))
    scaled = (images - images.mean((1, 2, 3), keepdims=True)) / images.std((1, 2, 3), keepdims=True)
    seen = []

    def body(x):
        seen.append(x)
        return flatten(scaled)

    identity = {"dense_0": {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}}
    value = objective.losses(jax.random.key(3), body, identity, {"image": images})
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    hidden = np.asarray(seen[0] != images).reshape(2, 64)  # gray, where it was not
    assert (hidden.sum(1) == 32).all()
    off = {"dense_0": {"kernel": jnp.eye(64), "bias": jnp.where(hidden[0], 0.0, 9.0)}}
    value = objective.losses(jax.random.key(3), body, off, {"image": images})
    np.testing.assert_allclose(value[0], 0.0, atol=1e-6)
    assert value[1] > 1


def test_codes_are_trained_through_their_sign():
    objective = objectives.learn_classes(
        NOTHING,
        loss="contrastive",
        size=4,
        classes=2,
        binary=True,
        heat=0.5,
        margin=0.0,
        smoothing=0.0,
    )
    params = objective.init(jax.random.key(0), 4)
    batch = {"image": jnp.asarray(np.random.default_rng(1).normal(size=(6, 2, 2, 1)), jnp.float32)}
    batch["label"] = jnp.array([0, 1] * 3)

    def loss(p):
        return objective.losses(jax.random.key(0), flatten, p, batch).sum()

    doubled = jax.tree.map(lambda x: 2 * x, params)  # has the same signs
    np.testing.assert_allclose(loss(params), loss(doubled), rtol=1e-6)
    assert np.abs(jax.grad(loss)(params)["linear"]["kernel"]).max() > 0


def test_components_are_those_of_scikit_learn(rng):
    rows = rng.normal(size=(40, 6)) * [5, 4, 3, 0, 0, 0]  # of three alone
    fitted = task.fit_components(rows, size=5)
    assert fitted["components"].shape == (6, 5)  # as long as it was asked for
    assert not fitted["components"][:, 3:].any()
    expected = PCA(3).fit_transform(rows)
    found = (rows - fitted["mean"]) @ fitted["components"][:, :3]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-4, atol=1e-4)


def test_bits_are_above_the_median_of_the_gallery(rng):
    rows = rng.normal(size=(7, 3)).astype(np.float32)
    fitted = transforms.fit("median", rows, gallery_of([0] * 7), classes=1)
    bits = np.asarray(transforms.apply("median", fitted.params, jnp.asarray(rows)))
    assert bits.sum(0).tolist() == [3, 3, 3]


def test_probabilities_are_those_of_scikit_learn(rng):
    """One machine a class by hand, its decisions about held-out subjects through a sigmoid."""
    label = np.repeat([0, 1, 2], 20)
    rows = rng.normal(size=(60, 5)) + np.eye(5)[label] * 2
    gallery = gallery_of(label)
    fitted = transforms.fit_svm(rows, gallery, classes=3)
    penalty = float(fitted.text.split("C = ")[1].split()[0])
    scaled, fold = (
        (rows - rows.mean(0)) / rows.std(0),
        np.array(number_folds(gallery, count=4, seed=0)),
    )

    def machine(keep, c):
        made = LinearSVC(C=penalty, dual="auto", class_weight="balanced", random_state=0)
        return made.fit(scaled[keep], label[keep] == c)

    expected = []
    for c in range(3):
        held = np.zeros(60)
        for f in range(4):
            held[fold == f] = machine(fold != f, c).decision_function(scaled[fold == f])
        platt = LogisticRegression(C=1e3, class_weight="balanced").fit(held[:, None], label == c)
        decision = machine(fold >= 0, c).decision_function(scaled)
        expected.append(platt.predict_proba(decision[:, None])[:, 1])
    found = transforms.apply("svm", fitted.params, jnp.asarray(rows, jnp.float32))
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-3, atol=1e-4)


def test_a_class_with_one_case_has_a_machine_too(rng):
    label = np.array([0] * 8 + [1] * 8 + [2])
    fitted = transforms.fit_svm(rng.normal(size=(17, 3)), gallery_of(label), classes=3)
    assert all(np.isfinite(x).all() for x in fitted.params.values())


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"code": True, "features": "pca"}, "`code` is for"),
        ({"code": True, "transform": "svm"}, "codes stay as they are"),
        ({"distance": "hamming"}, "of bits"),
        ({"distance": "chi_squared"}, "of histograms"),
        ({"distance": "chi_squared", "features": "pca"}, "of histograms"),
        ({"temperature": 0.0}, "above 0"),
    ],
)
def test_settings_that_do_not_go_together(settings, match):
    with pytest.raises(UserError, match=match):
        RetrievalOptions(**settings)


@pytest.mark.parametrize(
    "features, start, seeds, match",
    [
        ("frozen", False, 1, "of which network"),
        ("pixels", True, 1, "has no network"),
        ("pca", False, 2, "does not depend"),
    ],
)
def test_starts_and_seeds_that_do_not_go_together(features, start, seeds, match):
    with pytest.raises(UserError, match=match):
        check_options(RetrievalOptions(features=features), start=start, seeds=seeds)


def test_barcodes_are_of_images():
    with pytest.raises(UserError, match="2-D"):
        task.make_barcode((8, 8, 8, 1), None)


def test_both_barcodes_describe_an_image(rng):
    images = rng.integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    scaling = Preprocessing(0.0, 255.0, (0.0,), (1.0,))
    info = types.SimpleNamespace(classes=("a", "b"))
    spec = types.SimpleNamespace(image_shape=(16, 16, 1), preprocessing=scaling, info=info)
    for features, between_extrema in (("barcode", False), ("minmax_barcode", True)):
        options = RetrievalOptions(features=features)
        predictor = options.describe(EmbeddingPredictor())
        assert options.has_bits and predictor.distance == "hamming"
        described = predictor.make_task(spec)
        params, stats = described.init(jax.random.key(0))
        found = described.predict(params, stats, {"image": images})["embedding"]
        expected = [barcode(x[..., 0] / 255, between_extrema=between_extrema) for x in images]
        assert np.mean(found == np.array(expected)) > 0.99  # but where rounding meets a median


def test_the_nearest_mean_of_a_class_is_the_likeliest(rng):
    """Means at (1, 0) and (0, 1): a query at 30 degrees has cosines cos 30 and sin 30."""
    rows = np.array([[2.0, 0.0], [4.0, 0.0], [9.0, 0.0], [0.0, 3.0]])
    fitted = transforms.fit("means", rows, gallery_of([0, 0, 0, 1]), classes=2)
    np.testing.assert_allclose(fitted.params["means"], np.eye(2))
    angle = np.deg2rad(30)
    query = 7 * jnp.array([[np.cos(angle), np.sin(angle)]])
    share = transforms.apply("means", fitted.params, query)[0]
    expected = 1 / (1 + np.exp(-10 * (np.cos(angle) - np.sin(angle))))
    np.testing.assert_allclose(share, [expected, 1 - expected], rtol=1e-5)


def test_an_image_is_the_leaves_of_its_patches(rng):
    """Trees are fitted on the gallery; each tree's share of leaves is 1 of all trees."""
    images = rng.random((6, 20, 24, 1)).astype(np.float32)
    gallery = dataclasses.replace(
        gallery_of([0, 1] * 3), read=lambda i: images[i], image_shape=(20, 24, 1)
    )
    scaling = Preprocessing(0.0, 1.0, (0.0,), (1.0,))
    params = forest.fit(gallery, scaling, seed=0)
    task = forest.make_forest((20, 24, 1), scaling)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        lambda x: x.shape, jax.eval_shape(task.init, jax.random.key(0))[0]
    )
    found = task.predict(params, {}, {"image": jnp.asarray(images)})["embedding"]
    shares = np.asarray(found).reshape(6, forest.TREES, -1).sum(2)
    np.testing.assert_allclose(shares, 1 / forest.TREES, rtol=1e-5)


@pytest.mark.parametrize("kind", transforms.OF_CLASSES)
def test_a_class_that_the_gallery_lacks_is_never_the_likeliest(rng, kind):
    label = np.repeat([0, 2], 10)  # of four classes
    rows = rng.normal(size=(20, 3)) + 2 * np.eye(3)[label]
    fitted = transforms.fit(kind, rows, gallery_of(label), classes=4)
    shapes = transforms.shape_params(kind, features=3, classes=4)
    assert jax.tree.map(np.shape, fitted.params) == jax.tree.map(np.shape, shapes)
    share = transforms.apply(kind, fitted.params, jnp.asarray(-5 * rows, jnp.float32))
    assert float(share[:, [1, 3]].max()) < 1e-6
    assert bool(jnp.isfinite(share).all())


def test_however_small_the_share_something_is_hidden():
    hidden = objectives.draw_mask(jax.random.key(0), space=(16, 16), mask_ratio=1e-3)
    assert np.asarray(hidden).sum() == 4  # one patch of 64


def test_what_images_cannot_have_is_told_before_the_training(rng):
    volumes = Dataset.from_arrays(rng.random((20, 6, 6, 6)).astype(np.float32), [0, 1] * 10)
    with pytest.raises(UserError, match="of 2-D images"):
        check_images(RetrievalOptions(shortlist=3), volumes.splits["train"])
    with pytest.raises(UserError, match="unknown metadata 'age'"):
        check_images(RetrievalOptions(metadata=("age",)), volumes.splits["train"])

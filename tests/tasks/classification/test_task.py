import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import classify
from medjax import models
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.classification import task as classification

PREPROCESSING = Preprocessing(0.0, 255.0, (0.5,), (0.25,))


def parts(shape=(8, 8, 1), **options):
    model = models.classifier("mlp", num_classes=3, dropout=options.pop("dropout", 0.0))
    task = classification.make(
        model, image_shape=shape, num_classes=3, preprocessing=PREPROCESSING, **options
    )
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False)
    batch = {
        "image": jax.random.randint(jax.random.key(1), (6, *shape), 0, 255).astype(jnp.uint8),
        "label": jnp.array([0, 1, 2, 0, 1, 2]),
    }
    return task, variables["params"], batch, model


def test_the_loss_is_cross_entropy():
    task, params, batch, model = parts()
    value, (_, logs) = task.loss(jax.random.key(2), params, {}, batch)
    images = (batch["image"] / 255.0 - 0.5) / 0.25
    logits = model.apply({"params": params}, images, train=False)
    expected = -np.mean(
        [
            np.asarray(jax.nn.log_softmax(row))[y]
            for row, y in zip(logits, batch["label"], strict=True)
        ]
    )
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(logs["accuracy"]) == pytest.approx(np.mean(logits.argmax(-1) == batch["label"]))


def test_class_weights_change_who_counts():
    task, params, batch, _ = parts(class_weights=(1.0, 0.0, 0.0))
    only_first = {k: v[np.array([0, 3])] for k, v in batch.items()}
    plain, *_ = parts()
    key = jax.random.key(0)
    assert float(task.loss(key, params, {}, batch)[0]) == pytest.approx(
        float(plain.loss(key, params, {}, only_first)[0]), rel=1e-5
    )


def test_predictions_are_probabilities_and_views_average():
    how = Augmentation(rotate_degrees=20.0, contrast=0.3)
    for views in (1, 4):
        task, params, batch, _ = parts(augmentation=how, views=views)
        p = task.predict(params, {}, {"image": batch["image"]})["probability"]
        assert p.shape == (6, 3)
        np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(p, task.predict(params, {}, batch)["probability"])


def test_the_loss_of_each_case_is_that_of_its_label():
    task, params, batch, _ = parts()
    found = task.predict(params, {}, batch)
    expected = [-np.log(p[y]) for p, y in zip(found["probability"], batch["label"], strict=True)]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_mixup_and_smoothing_keep_the_loss_finite():
    task, params, batch, _ = parts(mixup_alpha=0.4, label_smoothing=0.1, dropout=0.5)
    value, grads = jax.value_and_grad(lambda p: task.loss(jax.random.key(0), p, {}, batch)[0])(
        params
    )
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("name", "options"),
    [("cnn", {"frozen": True}), ("resnet_slim", {"keep_statistics": True})],
)
def test_a_frozen_network_keeps_its_statistics(name, options):
    model = models.classifier(name, num_classes=3, dropout=0.5)
    task = classification.make(
        model,
        image_shape=(8, 8, 1),
        num_classes=3,
        preprocessing=PREPROCESSING,
        **options,
    )
    assert task.trainable == (("fc",) if "frozen" in options else ())
    variables = jax.jit(lambda k: model.init(k, jnp.zeros((1, 8, 8, 1)), train=False))(
        jax.random.key(0)
    )
    batch = {"image": jnp.ones((2, 8, 8, 1), jnp.uint8), "label": jnp.array([0, 1])}
    _, (stats, _) = jax.jit(task.loss)(
        jax.random.key(0), variables["params"], variables["batch_stats"], batch
    )
    jax.tree.map(np.testing.assert_array_equal, stats, variables["batch_stats"])


@pytest.mark.parametrize("shape", [(12, 12, 1), (9, 8, 10, 2)])
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet_slim"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_networks_take_2d_and_3d_in_both_dtypes(shape, name, dtype):
    model = models.classifier(name, num_classes=4, dtype=dtype)
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    out, variables = jax.jit(lambda k: model.init_with_output(k, x, train=False))(jax.random.key(1))
    assert out.shape == (2, 4)
    assert out.dtype == jnp.float32
    assert np.isfinite(out).all()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables["params"]))


def test_an_unknown_network_is_told_with_the_nearest():
    with pytest.raises(UserError, match="did you mean resnet18_28"):
        models.classifier("resnet18", num_classes=2)


def test_a_class_that_no_image_has_weighs_nothing():
    label, names = np.array([0, 0, 0, 1]), ["w", "x", "y", "z"]
    part = Split({"label": label}, names, names, [{}] * 4, None, (8, 8, 1), np.uint8)
    info = DatasetInfo("s", ("a", "b", "c"))
    np.testing.assert_allclose(classify.balance(part, info), [4 / 9, 4 / 3, 0])


def test_without_a_last_layer_of_that_name_nothing_is_frozen():
    for name, fits in (("cnn", True), ("sononet_small", False)):
        network = models.classifier(name, num_classes=2)
        task = classification.make(
            network,
            image_shape=(64, 64, 1),
            num_classes=2,
            preprocessing=PREPROCESSING,
            frozen=True,
        )
        with contextlib.nullcontext() if fits else pytest.raises(UserError, match="`freeze`"):
            classify.check_frozen(task)

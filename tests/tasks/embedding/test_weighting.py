"""Weights of metadata, chosen on cases that are no queries."""

import dataclasses

import numpy as np
import pytest

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.tasks.embedding import weighting
from medjax.tasks.embedding.predictor import EmbeddingPredictor
from medjax.tasks.embedding.rivals import Gallery, init_weights

INFO = DatasetInfo("set", classes=("a", "b"))
SPEC = ModelSpec(INFO, Preprocessing(0.0, 1.0, (0.0,), (1.0,)), (4, 4, 1), "float32")


def make_split(label, sex, noise, prefix):
    """Images of chance, whose sex may tell the class."""
    images = np.random.default_rng(len(prefix)).random((len(label), 4, 4, 1)).astype(np.float32)
    names = [f"{prefix}{i}" for i in range(len(label))]
    facts = [{"sex": s, "noise": n} for s, n in zip(sex, noise, strict=True)]
    read = lambda i: images[i]  # noqa: E731
    return Split({"label": label}, names, names, facts, read, (4, 4, 1), images.dtype)


@pytest.fixture
def made():
    """A gallery and a validation split: sex tells the class, a number of chance nothing."""
    draw, parts = np.random.default_rng(0), []
    for n, prefix in ((40, "train"), (20, "validate")):
        label = np.arange(n) % 2
        sex = ["" if i == 3 else "FM"[c] for i, c in enumerate(label)]
        parts.append(make_split(label, sex, [str(v) for v in draw.random(n)], prefix))
    predictor = EmbeddingPredictor(answers="pixels", metadata=("sex", "noise"), distance="cosine")
    task = predictor.make_task(SPEC)
    return Gallery(predictor, SPEC, parts[0], 8), parts[1], task, init_weights(task, seed=0)


@pytest.mark.parametrize("by", ["validation", "gallery"])
def test_what_tells_the_class_counts_and_chance_does_not(made, by):
    gallery, validation, task, weights = made
    predictor, text = weighting.choose_weights(
        gallery,
        gallery.predictor,
        task,
        weights,
        validation=validation if by == "validation" else None,
    )
    sex, noise = predictor.metadata_weights
    assert sex > 0
    assert noise < sex
    count = {"validation": "20 cases of validation", "gallery": "40 cases of the gallery"}[by]
    assert count in text
    assert "1 without sex" in text
    rows = weighting.ablate_metadata(gallery, predictor, task, weights, validation)
    assert "without metadata" in rows
    alone = rows["without metadata"].scores[:, 0].mean()
    assert alone < 0.7


def test_without_weights_there_is_nothing_to_leave_out(made):
    gallery, validation, task, weights = made
    predictor = dataclasses.replace(gallery.predictor, metadata_weights=(0.0, 0.0))
    assert weighting.ablate_metadata(gallery, predictor, task, weights, validation) == {}


def test_metadata_that_the_set_lacks(made):
    gallery, validation, task, weights = made
    predictor = dataclasses.replace(gallery.predictor, metadata=("weight",))
    with pytest.raises(UserError, match="unknown metadata 'weight'"):
        weighting.choose_weights(gallery, predictor, task, weights, validation=validation)

"""A family of its own: the mean intensity of an image, by a network of one weight."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.evaluation.metrics import mean_defined
from medjax.evaluation.predictions import Predictions
from medjax.files import write_table
from medjax.outputs import exam_images
from medjax.outputs.base import Description, Output, mean_over_seeds
from medjax.outputs.preparing import prepare_images
from medjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class NumberPredictions(Predictions):
    case_id: list
    subject_id: list
    number: np.ndarray
    true: np.ndarray

    @property
    def table(self):
        return self.true, self.number

    def write(self, path):
        rows = zip(self.case_id, self.number, self.true, strict=True)
        write_table(path, ["case_id", "number", "true_number"], rows)


class NumberAnswer(NamedTuple):
    case_id: str
    number: float

    def rows(self):
        return [{"case_id": self.case_id, "number": self.number}]

    def further_rows(self):
        return {}

    def files(self):
        return {}

    def draw(self, path, image):
        path.write_bytes(b"")


def mean_of(image):
    return image.mean() / 255


def tabulate(split, spec, predicted):
    true = np.array([mean_of(split.read(i)) for i in range(len(split))])
    return NumberPredictions(split.case_id, split.subject_id, predicted["number"], true)


def baseline(train, split, spec):
    mean = np.mean([mean_of(train.read(i)) for i in range(len(train))])
    return tabulate(split, spec, {"number": np.full(len(split), mean)}), "the mean of training"


def mae(true, number, weight):
    """mean |found - true|"""
    return mean_defined(np.abs(number - true), weight)


NUMBERS = Output(
    columns=(),
    describe=lambda info: Description("tells how bright an image is", ("brightness",)),
    prepare=prepare_images(exam_images.prepare, from_array=exam_images.from_array),
    tabulate=tabulate,
    ensemble=mean_over_seeds,
    baseline=baseline,
    metrics=lambda spec, measures: {"mae": mae},
    details=lambda evaluation: {},
    draw=lambda folder, evaluation: [],
    answer=lambda found, split: [
        NumberAnswer(c, float(n)) for c, n in zip(found.case_id, found.number, strict=True)
    ],
)


@dataclasses.dataclass(frozen=True)
class ToyPredictor:
    """A straight line from an image's mean to a number."""

    model: str = "line"
    image_size: int = 0
    fit: str = "stretch"

    output = NUMBERS

    def make_task(self, spec):
        def init(key):
            return {"slope": jax.random.normal(key, ())}, {}

        def predict(params, stats, batch):
            unit = batch["image"].astype(jnp.float32) / 255
            return {"number": params["slope"] * unit.mean(range(1, unit.ndim))}

        def loss(key, params, stats, batch):
            true = predict({"slope": 1.0}, stats, batch)["number"]
            value = jnp.mean((predict(params, stats, batch)["number"] - true) ** 2)
            return value, (stats, {"loss": value})

        return Task(init, loss, predict)

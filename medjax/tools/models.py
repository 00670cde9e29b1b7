"""The networks that medjax knows: what they are for, and how large they are.

    medjax models

A network is chosen with `--model=NAME`; `--encoder=NAME` takes those of labels for each frame of a
sequence. All are trained from
scratch unless `medjax classify --init_from=FILE` names published weights; no weights come with
medjax, so that their licence is that of whoever published them. Your own network: docs/python.md.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax import models
from medjax.evaluation import report
from medjax.train.state import count_parameters


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def main(config: Config) -> None:
    rows = [
        *(_row(name, "labels", models.classifier, 2) for name in models.CLASSIFIERS),
        *(_row(name, "landmarks", models.landmarker, 2) for name in models.LANDMARKERS),
    ]
    report.show(
        "networks",
        ("name", "finds", "parameters", "what it is"),
        rows,
        ["parameters: of gray 2-D images and two classes or landmarks"],
        text=True,
    )


def _row(name: str, command: str, make: Callable, count: int) -> list[str]:
    """A line of the table; the parameters are counted by tracing, nothing is computed."""
    counted = "num_classes" if make is models.classifier else "num_landmarks"
    network = make(name, **{counted: count})
    side = 224 if name.endswith("_224") or name.startswith("sononet") else 32
    image = jnp.zeros((1, side, side, 1))
    shapes = jax.eval_shape(lambda key: network.init(key, image, train=False), jax.random.key(0))
    size = count_parameters(shapes["params"])
    summary = models.SUMMARIES.get(name, "your own network")
    return [name, command, f"{size:,}", summary]

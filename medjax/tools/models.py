"""The networks that medjax knows: what they are for, and how large they are.

    medjax models

A network is chosen with `--model=NAME`; `--encoder=NAME` takes those of labels for each frame of a
sequence. All are trained from
scratch unless `medjax classify --init_from=FILE` names published weights; no weights come with
medjax, so that their licence is that of whoever published them. Your own network: docs/python.md.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from medjax import models
from medjax.evaluation import report
from medjax.train.state import count_parameters

_FINDS = {  # by whether it is a network of landmarks, and of masks
    (True, False): "landmarks",
    (False, True): "masks",
    (True, True): "landmarks, masks",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def main(config: Config) -> None:
    both = {**models.LANDMARKERS, **models.SEGMENTERS}
    rows = [
        *(_row(n, "labels", models.classifier(n, num_classes=2)) for n in models.CLASSIFIERS),
        *(
            _row(n, _FINDS[n in models.LANDMARKERS, n in models.SEGMENTERS], make(num_outputs=2))
            for n, make in both.items()
        ),
        *(_row(n, "pairs", make(), channels=2) for n, make in models.REGISTRATORS.items()),
    ]
    report.show(
        "networks",
        ("name", "finds", "parameters", "what it is"),
        rows,
        ["parameters: of gray 2-D images and two classes, landmarks or maps"],
        text=True,
    )


def _row(name: str, finds: str, network: Any, *, channels: int = 1) -> list[str]:
    """A line of the table; the parameters are counted by tracing, nothing is computed."""
    side = 224 if name.startswith("sononet") else max(models.smallest_side(name), 224 // 7)
    image = jnp.zeros((1, side, side, channels))
    shapes = jax.eval_shape(lambda key: network.init(key, image, train=False), jax.random.key(0))
    size = count_parameters(shapes["params"])
    summary = models.SUMMARIES.get(name, "your own network")
    return [name, finds, f"{size:,}", summary]

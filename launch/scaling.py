"""How step time and input grow from 1 to 1,024 devices: on paper, by counted work and assumptions.

    python -m launch.scaling
    python -m launch.scaling --tflops=40 --link_gbps=25

Work is counted by XLA (`cost_analysis` of the forward pass, three times that for an update), data
and gradients by their bytes. What a device and its links do is assumed, by the flags; nothing here
is measured. Each device has the same batch (weak scaling), the devices reduce gradients in a ring,
and nothing overlaps: a pessimist's estimate. How often devices wait for each other is counted: once
for all gradients, and twice for each batch normalisation, whose statistics are of all devices.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from medjax import app, models
from medjax.config import option
from medjax.errors import UserError
from medjax.evaluation import report
from medjax.models import qnet
from medjax.train.state import count_parameters

DEVICES = (1, 8, 64, 256, 1024)


@dataclasses.dataclass(frozen=True)
class Config:
    """What is assumed; the fields are flags."""

    tflops: float = option(
        40.0,
        "of a device, reached in these small networks (of the 200 to 1000 that it has on paper)",
    )
    link_gbps: float = option(45.0, "GB/s of each device to the next in the ring")
    latency_us: float = option(5.0, "of a hop, microseconds")
    launch_ms: float = option(0.1, "of an update, whatever it does, milliseconds")


class Load(NamedTuple):
    """What an update of one device is.

    Attributes:
      name: the experiment and its network.
      batch: examples of one device.
      flops: of an update of them.
      gradient_bytes, input_bytes: that are reduced, and that are read.
      reductions: times that all devices wait for each other.
    """

    name: str
    batch: int
    flops: float
    gradient_bytes: float
    input_bytes: float
    reductions: int


def main(config: Config) -> None:
    if min(config.tflops, config.link_gbps) <= 0 or min(config.latency_us, config.launch_ms) < 0:
        raise UserError("--tflops and --link_gbps must be positive, the others not negative")
    rows = []
    for load in loads():
        alone = step_ms(load, 1, config)
        for count in DEVICES:
            step = step_ms(load, count, config)
            rows.append(
                [
                    load.name if count == 1 else "",
                    str(count),
                    f"{step:.2f}",
                    f"{alone / step:.0%}",
                    f"{1e3 * load.batch * count / step:,.0f}",
                    f"{load.input_bytes * count / step * 1e-6:,.2f}",
                ]
            )
    report.show(
        "step time and input, on paper",
        ["experiment", "devices", "ms a step", "efficiency", "examples/s", "input GB/s"],
        rows,
        [
            f"assumed: {config.tflops:g} TFLOP/s a device, {config.link_gbps:g} GB/s "
            f"and {config.latency_us:g} us a hop, {config.launch_ms:g} ms a launch; "
            "nothing overlaps"
        ],
    )


def step_ms(load: Load, devices: int, config: Config) -> float:
    """Compute, launch, and rings that pass gradients and statistics twice around."""
    compute = load.flops / (config.tflops * 1e9)
    share = (devices - 1) / devices
    ring = 2 * share * load.gradient_bytes / (config.link_gbps * 1e6)
    hops = load.reductions * 2 * math.log2(devices) * config.latency_us * 1e-3
    return config.launch_ms + compute + ring + hops


def loads() -> list[Load]:
    """The four experiments at sizes that one would take to a cluster."""
    classifier = models.classifier("resnet50_224", num_classes=14)
    unet = models.landmarker("unet", num_landmarks=32, width=16, levels=5)
    agents = qnet.QNetwork(
        2,
        6,
        trunk="patches",
        patch=3,
        width=32,
        hidden=128,
        num_levels=3,
        dueling=True,
        communicate=False,
    )
    heart = models.over_time(
        "resnet18_28", recurrence="bilstm", features=256, hidden=256, outputs=2
    )
    image, volume = jnp.zeros((1, 224, 224, 3)), jnp.zeros((1, 96, 96, 96, 1))
    crops, level = jnp.zeros((1, 2, 15, 15, 15, 1)), jnp.zeros((1, 2), jnp.int32)
    frames = jnp.zeros((1, 32, 112, 112, 1))
    # An agent's update also acts: the network is run four times in all, and nothing is read.
    return [
        make_load(
            "classify, ResNet-50, 224^2", classifier.init, classifier.apply, (image,), batch=64
        ),
        make_load("heatmap, 3-D U-Net, 96^3", unet.init, unet.apply, (volume,), batch=2),
        make_load(
            "search, 2 landmarks, 15^3",
            agents.init,
            agents.apply,
            (crops, level),
            batch=64,
            passes=4,
            is_read=False,
            modes=False,
            drawn=5,
        ),
        make_load(
            "temporal, ResNet-18 + LSTM",
            heart.init,
            heart.apply,
            (frames, jnp.array([32])),
            batch=8,
        ),
    ]


def make_load(
    name: str,
    init: Callable,
    apply: Callable,
    inputs: tuple,
    *,
    batch: int,
    passes: int = 3,
    is_read: bool = True,
    modes: bool = True,
    drawn: int = 0,
) -> Load:
    """The load of a network, from the cost of its forward pass on one example.

    Args:
      drawn: reductions by which agents draw from the replay of all devices.
    """
    mode = {"train": False} if modes else {}
    shapes = jax.eval_shape(lambda key: init(key, *inputs, **mode), jax.random.key(0))
    cost: Any = jax.jit(lambda v, *x: apply(v, *x, **mode)).lower(shapes, *inputs).cost_analysis()
    read = sum(x.size for x in inputs) if is_read else 0  # a byte a pixel, as sets are stored
    return Load(
        name,
        batch,
        passes * batch * cost["flops"],
        4.0 * count_parameters(shapes["params"]),
        batch * read,
        count_reductions(shapes) + drawn,
    )


def count_reductions(variables: Any) -> int:
    """Of an update of a network with these variables, at most: XLA joins those that can wait."""
    statistics = jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {}))
    return 1 + 2 * sum(path[-1].key == "mean" for path, _ in statistics)


if __name__ == "__main__":
    app.run(main, Config)

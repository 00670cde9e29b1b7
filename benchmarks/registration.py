"""Registration of pairs without training: medjax, SimpleITK and ANTs, the same pairs, in one run.

    python -m benchmarks.registration --data_dir=HIPPOCAMPUS_PAIRS
    python -m benchmarks.registration --sizes=32,48,64,96,128,160 --figure=registration.png

Each of them registers one pair after the other; the first, which compiles, is timed apart. All
see the same arrays from 0 to 1, the moving image where it lies at first, and are scored by the same
code: Dice of the moving mask as it is warped, and folds. With `--sizes` one pair is brought to
cubes of these sides. SimpleITK comes with medjax[parity], ANTs as the package antspyx; what is not
installed is left out.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import ndimage

from benchmarks import common, registration_sides
from benchmarks.registration_sides import Register
from medjax import app, runtime
from medjax.config import option
from medjax.data import source
from medjax.data.dense_transform import DenseTransform
from medjax.data.info import DatasetInfo
from medjax.data.pair_options import PairOptions
from medjax.evaluation import plot, report
from medjax.experiment.opening import say
from medjax.outputs.base import ModelSpec
from medjax.outputs.fields import metrics
from medjax.tasks.registration.method import AlignmentOptions
from medjax.tasks.registration.pair import PREPROCESSING
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.registration.task import NO_WEIGHTS

_FORMS = ("displacement", "velocity", "bspline")


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    data_dir: str = option("", "of hippocampus_pairs; empty: made brains", path=True)
    pairs: int = option(8, "so many of the validation", least=2)
    sizes: tuple[int, ...] = option((), "sides of cubes, in place of pairs", item=int)
    similarity: str = option("lncc", "of medjax")
    smoothness: float = option(1.0, "of medjax", least=0)
    iterations: int = option(40, "at each of three sizes", least=1)
    sides: tuple[str, ...] = option((), "these alone, by a part of their names", item=str)
    cache_dir: str = option("~/.cache/medjax", "prepared sets, compiled programs", path=True)
    figure: str = option("", "of `sizes`: file for the plot", path=True)


class Pair(NamedTuple):
    """Fixed and moving image `[*space]` from 0 to 1 on one grid, and the masks of both."""

    images: tuple[np.ndarray, np.ndarray]
    masks: tuple[np.ndarray, np.ndarray]


def main(config: Config) -> None:
    busy = common.busy_cores()
    runtime.setup(Path(config.cache_dir).expanduser())
    pairs = load_pairs(config)
    machine = common.machine()
    print(
        f"{time.strftime('%Y-%m-%d')}; {machine['cpu']}, {machine['cores']} cores, {busy} at work"
    )
    (measure_sizes if config.sizes else measure_pairs)(config, pairs)


def load_pairs(config: Config) -> list[Pair]:
    """Those of the validation, padded to one size."""
    name = "hippocampus_pairs" if config.data_dir else "brain_pairs"
    options = PairOptions(data_dir=config.data_dir, ndim=3, subjects=60)
    folder = Path(config.cache_dir).expanduser()
    split = source.load(name, options=options, cache_dir=folder).splits["validation"]
    out = []
    for i in range(min(config.pairs, len(split))):
        fixed, moving = np.moveaxis(split.read(i).astype(np.float32) / 255, -1, 0)
        masks = np.moveaxis(split.on_demand["mask"](i), -1, 0)
        matrix = np.asarray(split["initial"][i], np.float64)
        to = {"matrix": matrix[:, :-1], "offset": matrix[:, -1], "output_shape": fixed.shape}
        moving = ndimage.affine_transform(moving, **to, order=1)
        mask = ndimage.affine_transform(masks[1], **to, order=0)
        out.append(Pair((fixed, moving), (masks[0], mask)))
    return out


def list_sides(config: Config, space: tuple[int, ...]) -> dict[str, Register]:
    """What registers, by name."""
    given = {"similarity": config.similarity, "smoothness": config.smoothness}
    options = AlignmentOptions(method="optimise", iterations=config.iterations, **given)
    ours = {
        f"medjax, {form}": make_ours(dataclasses.replace(options, transform=form), space)
        for form in _FORMS
    }
    both = {**ours, **registration_sides.installed(config.iterations)}
    wanted = config.sides
    return {k: v for k, v in both.items() if not wanted or any(w in k for w in wanted)}


def make_ours(options: AlignmentOptions, space: tuple[int, ...]) -> Register:
    """A compiled registration; what it returns is as of the other sides."""
    spec = ModelSpec(DatasetInfo("pair", pairing="one"), PREPROCESSING, (*space, 2), "uint8")
    predict = jax.jit(RegistrationPredictor(alignment=options).make_task(spec).predict)

    def register(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
        pair = 255 * np.stack([fixed, moving], -1)[None]
        unit = {"fixed_voxel_mm": np.ones((1, 3), np.float32)}
        given = {"image": pair, "initial": np.eye(3, 4, dtype=np.float32)[None], **unit}
        found = jax.device_get(predict(*NO_WEIGHTS, given))
        return registration_sides.from_half(found["displacement"][0], found["matrix"][0], space)

    return register


def measure_pairs(config: Config, pairs: Sequence[Pair]) -> None:
    """A row a side: scores and seconds."""
    rows = []
    for name, register in list_sides(config, pairs[0].images[0].shape).items():
        seconds, scores = [], []
        for pair in pairs:
            begun = time.perf_counter()
            displacement = register(*pair.images)
            seconds.append(time.perf_counter() - begun)
            scores.append(score(pair, displacement))
            say(f"{name}: {seconds[-1]:.2f} s, Dice {scores[-1][0]:.3f}")
        rows.append(_row(name, np.array(scores), seconds))
    still = np.zeros((*pairs[0].images[0].shape, 3))
    before = np.mean([score(pair, still)[0] for pair in pairs])
    report.show(
        "pairs, one by one",
        ("by", "Dice", "folds", "sd log J", "seconds a pair", "the first one"),
        [["before", f"{before:.3f}", "", "", "", ""], *rows],
        [f"{len(pairs)} pairs; seconds: the median without the first one"],
    )


def _row(name: str, scores: np.ndarray, seconds: Sequence[float]) -> list[str]:
    dice, folds, deviation = scores.mean(0)
    middle = statistics.median(seconds[1:])
    shown = (f"{dice:.3f}", f"{folds:.3%}", f"{deviation:.2f}")
    return [name, *shown, f"{middle:.2f}", f"{seconds[0]:.1f}"]


def score(pair: Pair, displacement: np.ndarray) -> tuple[float, float, float]:
    """Mean Dice, the share of folds, and the deviation of the Jacobian's logarithm."""
    transform = DenseTransform(displacement, np.eye(4), np.eye(4))
    fixed, moving = pair.masks
    warped, classes = transform.warp_mask(moving, np.eye(4)), int(fixed.max())
    overlaps = metrics.score_masks(warped, fixed, classes=classes, spacing=np.ones(fixed.ndim))
    evenness = metrics.score_jacobian(transform.jacobian_determinant())
    return float(np.nanmean(overlaps[:, 0])), *evenness


def measure_sizes(config: Config, pairs: Sequence[Pair]) -> None:
    """Seconds of one pair at each size, of a second call."""
    found: dict[str, list[float]] = {}
    for side in config.sizes:
        images = [
            ndimage.zoom(image, [side / n for n in image.shape], order=1)
            for image in pairs[0].images
        ]
        for name, register in list_sides(config, images[0].shape).items():
            register(*images)
            begun = time.perf_counter()
            register(*images)
            found.setdefault(name, []).append(time.perf_counter() - begun)
            say(f"{side}^3, {name}: {found[name][-1]:.2f} s")
    exponents = {
        name: float(np.polyfit(np.log(np.array(config.sizes) ** 3.0), np.log(times), 1)[0])
        for name, times in found.items()
    }
    report.show(
        "seconds a pair, by the side of a cube",
        ("by", *map(str, config.sizes), "exponent, of voxels"),
        [
            [name, *(f"{s:.2f}" for s in times), f"{exponents[name]:.2f}"]
            for name, times in found.items()
        ],
    )
    if config.figure:
        draw_sizes(Path(config.figure), config.sizes, found)


def draw_sizes(path: Path, sizes: Sequence[int], found: dict[str, list[float]]) -> None:
    """Seconds against the side."""

    def draw(figure: Any, axes: Any) -> None:
        ax = axes[0, 0]
        for name, times in found.items():
            style = "o-" if name.startswith("medjax") else "s--"
            ax.loglog(sizes, times, style, ms=4, label=name)
        ax.set(xlabel="side of the volume, voxels", ylabel="seconds a pair")
        ax.set_xticks(sizes, [str(s) for s in sizes])
        ax.minorticks_off()
        plot.plain_numbers(ax.yaxis)
        figure.legend(loc="outside right upper", fontsize=8)

    plot.new_figure(path, 1, 1, (7.0, 3.8), draw)


if __name__ == "__main__":
    app.run(main, Config)

"""Images to landmarks, by heatmaps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import models
from medjax.config import option
from medjax.data.source import Split
from medjax.evaluation.stats import nan_mean
from medjax.ops.consensus import align_pairs
from medjax.outputs.base import ModelSpec, Weights, symbols
from medjax.outputs.landmarks import report as landmark_report
from medjax.outputs.landmarks import serve as points
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.outputs.landmarks.serve import LandmarkAnswer
from medjax.tasks.heatmap import task as heatmap
from medjax.train import feed, mesh, step
from medjax.typing import Array


@dataclasses.dataclass(frozen=True)
class HeatmapPredictor:
    """How landmarks are found; the fields are flags of `experiments.heatmap`."""

    model: str = option("unet", "the network", choices=tuple(models.LANDMARKERS), kept=True)
    width: int = option(
        0, "its features, at the finest level; 0: 16, or 8 in volumes", least=0, kept=True
    )
    levels: int = option(4, "unet, scn2019: sizes that it works at", least=1, kept=True)
    loss: str = option(
        "cross_entropy",
        "l2: heights, cross_entropy: probabilities over voxels",
        choices=heatmap.LOSSES,
        kept=True,
    )
    decoder: str = option(
        "mass",
        "from map to point: highest voxel with a parabola, mean over all voxels, or centre of mass "
        "about the highest",
        choices=heatmap.DECODERS,
        kept=True,
    )
    sigma: float = option(2.0, "of the target's Gaussian, voxels", kept=True)
    absent_below: float = option(
        0.0, "a point found with less confidence counts as absent", least=0
    )
    patch: tuple[int, ...] = option(
        (),
        "train on random windows of this shape, predict by overlapping ones; empty: whole images",
        item=int,
    )
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))

    read = staticmethod(points.read)
    from_array = staticmethod(points.from_array)
    draw = staticmethod(points.draw)

    def task(self, trained: ModelSpec, **training: Any) -> heatmap.HeatmapTask:
        """What the network does; `training` are options of `tasks.heatmap.make`."""
        count = len(trained.info.landmarks)
        depth = {"levels": self.levels} if self.model in ("unet", "scn2019") else {}
        model = models.landmarker(
            self.model, num_landmarks=count, dtype=self.dtype, width=self.width, **depth
        )
        return heatmap.make(
            model,
            num_landmarks=count,
            preprocessing=trained.preprocessing,
            loss=self.loss,
            decoder=self.decoder,
            sigma=self.sigma,
            window=self.patch or None,
            **training,
        )

    def footprint(self, trained: ModelSpec) -> int:
        """About how many numbers an answer takes, for bounds on what strangers wrote."""
        space = math.prod(trained.image_shape[:-1])
        return space * (self.width + len(trained.info.landmarks))

    def init(self, key: Array, trained: ModelSpec) -> Weights:
        """Weights of one seed, before any training."""
        return self.task(trained).init(key, jnp.zeros(trained.image_shape))

    def answers(
        self, trained: ModelSpec, *, batch: int
    ) -> Callable[[Weights, Split], list[LandmarkAnswer]]:
        """The compiled function from weights and images to answers, the mean over seeds."""
        predict = program(self.task(trained))

        def answer(weights: Weights, split: Split) -> list[LandmarkAnswer]:
            info = trained.info
            by_seed, _ = located(
                predict,
                weights,
                split,
                info.landmarks,
                batch=batch,
                absent_below=self.absent_below,
                unordered=info.pairs(info.unordered),
            )
            return points.answers_of(ensemble(by_seed), split, split["known"])

        return answer

    def function(self, trained: ModelSpec) -> tuple[Callable, dict[str, str]]:
        """`(params, stats, images)`, of all seeds, to points, in voxels of the prepared image, and
        their confidence; and the shape of its input."""
        task, pairs = self.task(trained), trained.info.pairs(trained.info.unordered)

        def locate(params: Any, stats: Any, images: Array) -> heatmap.LocatedPoints:
            return jax.vmap(task.decode)(task.maps(params, stats, images))

        def locate_ensemble(params: Any, stats: Any, images: Array) -> heatmap.LocatedPoints:
            points, confidence = step.over_seeds(locate, (0, 0, None))(params, stats, images)
            order = jax.vmap(lambda p: align_pairs(p, pairs=pairs), 1, 1)(points)
            points = jnp.take_along_axis(points, order[..., None], 2)
            confidence = jnp.take_along_axis(confidence, order, 2)
            return heatmap.LocatedPoints(points.mean(0), confidence.mean(0))

        return locate_ensemble, {"images": symbols(trained.image_shape)}


def program(task: heatmap.HeatmapTask) -> Callable[..., tuple[heatmap.LocatedPoints, Array]]:
    """The compiled prediction of all seeds: what is found `[seeds, batch, ...]`, and the losses."""

    def predict(params: Any, stats: Any, images: Array, true: Array):
        maps = task.maps(params, stats, images)
        known = ~jnp.isnan(true).any(-1)
        losses = jax.vmap(task.score, (None, 0, 0, 0))(params, maps, true, known)
        return jax.vmap(task.decode)(maps), losses

    return jax.jit(step.over_seeds(predict, (0, 0, None, None)))


def located(
    predict: Callable,
    weights: Weights,
    split: Split,
    names: tuple[str, ...],
    *,
    batch: int,
    absent_below: float,
    unordered: tuple[tuple[int, int], ...] = (),
) -> tuple[list[LandmarkPredictions], np.ndarray]:
    """Every case of a split once, in order: the predictions of each seed, and their losses.

    Args:
      unordered: pairs without an order of their own; all seeds name them as the first does.
    """
    parts = list(feed.padded(len(split), batch=batch))

    def run(number: int) -> Any:
        part = mesh.spread(split.batch(parts[number][0], ("landmarks",)))
        return jax.tree.map(np.asarray, predict(*weights, part["image"], part["landmarks"]))

    batches = [
        jax.tree.map(lambda x, keep=valid: x[:, keep], result)
        for result, (_, valid) in zip(mesh.everywhere(run, len(parts)), parts, strict=True)
    ]
    (voxels, confidence), losses = jax.tree.map(lambda *x: np.concatenate(x, 1), *batches)
    by_seed = [
        landmark_report.from_voxels(split, names, p, c)
        for p, c in zip(voxels, confidence, strict=True)
    ]
    if unordered and len(by_seed) > 1:
        order = np.asarray(
            jax.vmap(  # [case, seed, landmark]
                lambda p: align_pairs(p, pairs=unordered), 1
            )(voxels.astype(np.float32))
        )
        by_seed = [
            landmark_report.reordered(predictions, order[:, s])
            for s, predictions in enumerate(by_seed)
        ]
    # Not `<`: a map that is not finite has found nothing.
    return [
        predictions.without(~(predictions.confidence >= absent_below)) for predictions in by_seed
    ], losses


def ensemble(by_seed: list[LandmarkPredictions]) -> LandmarkPredictions:
    """The ensemble: the mean of the seeds' points, where most seeds found one."""

    def mean(name: str) -> np.ndarray:
        values = np.stack([getattr(e, name) for e in by_seed])
        missing = np.isnan(values).mean(0)
        return np.where(missing <= 0.5, nan_mean(values, axis=0), np.nan)

    if len(by_seed) == 1:
        return by_seed[0]
    return by_seed[0]._replace(
        points_px=mean("points_px"), points_mm=mean("points_mm"), confidence=mean("confidence")
    )

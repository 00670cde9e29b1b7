"""Images to landmarks, by heatmaps."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax import models
from medjax.data.source import Split
from medjax.evaluation.stats import nan_mean
from medjax.ops.consensus import align_pairs
from medjax.outputs.base import Trained, Weights, symbols
from medjax.outputs.landmarks import report as landmark_report
from medjax.outputs.landmarks import serve as points
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.outputs.landmarks.serve import Points
from medjax.tasks.heatmap import task as heatmap
from medjax.train import feed, mesh, step
from medjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Heatmap:
    """How landmarks are found; the fields are flags of `experiments.heatmap`."""

    model: str
    width: int
    levels: int
    loss: str
    decoder: str
    sigma: float
    absent_below: float = 0.0
    patch: tuple[int, ...] = ()
    dtype: str = "float32"

    read = staticmethod(points.read)
    from_array = staticmethod(points.from_array)
    draw = staticmethod(points.draw)

    def task(self, trained: Trained, **training: Any) -> heatmap.Heatmap:
        """What the network does; `training` are options of `tasks.heatmap.make`."""
        count = len(trained.info.landmarks)
        depth = {"levels": self.levels} if self.model in ("unet", "scn2019") else {}
        model = models.landmarker(self.model, num_landmarks=count, dtype=self.dtype,
                                  width=self.width, **depth)
        return heatmap.make(
            model, num_landmarks=count, preprocessing=trained.preprocessing, loss=self.loss,
            decoder=self.decoder, sigma=self.sigma, window=self.patch or None, **training)

    def footprint(self, trained: Trained) -> int:
        """About how many numbers an answer takes, for bounds on what strangers wrote."""
        space = math.prod(trained.image_shape[:-1])
        return space * (self.width + len(trained.info.landmarks))

    def init(self, key: Array, trained: Trained) -> Weights:
        """Weights of one seed, before any training."""
        return self.task(trained).init(key, jnp.zeros(trained.image_shape))

    def answers(self, trained: Trained, *, batch: int) -> Callable[[Weights, Split], list[Points]]:
        """The compiled function from weights and images to answers, the mean over seeds."""
        predict = program(self.task(trained))

        def answer(weights: Weights, split: Split) -> list[Points]:
            info = trained.info
            found, _ = located(predict, weights, split, info.landmarks, batch=batch,
                               absent_below=self.absent_below,
                               unordered=info.pairs(info.unordered))
            return points.each(together(found), split, split["known"])

        return answer

    def function(self, trained: Trained) -> tuple[Callable, dict[str, str]]:
        """`(params, stats, images)`, of all seeds, to points, in voxels of the prepared image, and
        their confidence; and the shape of its input."""
        task, pairs = self.task(trained), trained.info.pairs(trained.info.unordered)

        def found(params: Any, stats: Any, images: Array) -> heatmap.Found:
            return jax.vmap(task.decode)(task.maps(params, stats, images))

        def whole(params: Any, stats: Any, images: Array) -> heatmap.Found:
            points, confidence = step.over_seeds(found, (0, 0, None))(params, stats, images)
            order = jax.vmap(lambda p: align_pairs(p, pairs=pairs), 1, 1)(points)
            points = jnp.take_along_axis(points, order[..., None], 2)
            confidence = jnp.take_along_axis(confidence, order, 2)
            return heatmap.Found(points.mean(0), confidence.mean(0))

        return whole, {"images": symbols(trained.image_shape)}


def program(task: heatmap.Heatmap) -> Callable[..., tuple[heatmap.Found, Array]]:
    """The compiled prediction of all seeds: what is found `[seeds, batch, ...]`, and the losses."""
    def predict(params: Any, stats: Any, images: Array, true: Array):
        maps = task.maps(params, stats, images)
        known = ~jnp.isnan(true).any(-1)
        losses = jax.vmap(task.score, (None, 0, 0, 0))(params, maps, true, known)
        return jax.vmap(task.decode)(maps), losses

    return jax.jit(step.over_seeds(predict, (0, 0, None, None)))


def located(predict: Callable, weights: Weights, split: Split, names: tuple[str, ...], *,
            batch: int, absent_below: float, unordered: tuple[tuple[int, int], ...] = ()
            ) -> tuple[list[LandmarkPredictions], np.ndarray]:
    """Every case of a split once, in order: the predictions of each seed, and their losses.

    Args:
      unordered: pairs without an order of their own; all seeds name them as the first does.
    """
    parts = list(feed.padded(len(split), batch=batch))

    def run(number: int) -> Any:
        part = mesh.spread(split.batch(parts[number][0], ("landmarks",)))
        return jax.tree.map(np.asarray, predict(*weights, part["image"], part["landmarks"]))

    found = [jax.tree.map(lambda x, keep=valid: x[:, keep], result)
             for result, (_, valid) in zip(mesh.everywhere(run, len(parts)), parts, strict=True)]
    (voxels, confidence), losses = jax.tree.map(lambda *x: np.concatenate(x, 1), *found)
    each = [landmark_report.from_voxels(split, names, p, c)
            for p, c in zip(voxels, confidence, strict=True)]
    if unordered and len(each) > 1:
        order = np.asarray(jax.vmap(  # [case, seed, landmark]
            lambda p: align_pairs(p, pairs=unordered), 1)(voxels.astype(np.float32)))
        each = [landmark_report.reordered(one, order[:, s]) for s, one in enumerate(each)]
    # Not `<`: a map that is not finite has found nothing.
    return [one.without(~(one.confidence >= absent_below)) for one in each], losses


def together(each: list[LandmarkPredictions]) -> LandmarkPredictions:
    """The ensemble: the mean of the seeds' points, where most seeds found one."""
    def mean(name: str) -> np.ndarray:
        values = np.stack([getattr(e, name) for e in each])
        missing = np.isnan(values).mean(0)
        return np.where(missing <= 0.5, nan_mean(values, axis=0), np.nan)

    if len(each) == 1:
        return each[0]
    return each[0]._replace(found=mean("found"), found_mm=mean("found_mm"),
                            confidence=mean("confidence"))

"""What a run of landmark search leaves behind: where each agent began and where it came to rest."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data import geometry
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.evaluation import stats
from medjax.evaluation.predictions import Predictions
from medjax.ops import shape_model
from medjax.ops.consensus import median
from medjax.outputs.landmarks import metrics as landmark_metrics
from medjax.outputs.landmarks.report import (
    LandmarkPredictions,
    found_at_worst,
    from_voxels,
    reference,
)
from medjax.tasks.search import metrics as search_metrics
from medjax.tasks.search.environment import LEFT, RESTED, STATUS
from medjax.train.record import write_table
from medjax.typing import Json

_median = jax.jit(jax.vmap(jax.vmap(median)))


@dataclasses.dataclass(frozen=True)
class Searches(Predictions):
    """Searches of n volumes; NaN where an agent has left, or the reference has no point.

    Attributes:
      case_id, subject_id: `[n]`.
      names: of the landmarks.
      starts_mm, points_mm: `[n, landmark, seed, start, ndim]`, mm in the world.
      true_mm: `[n, landmark, ndim]`, mm in the world.
      steps, status: `[n, landmark, seed, start]`.
    """

    case_id: list[str]
    subject_id: list[str]
    names: tuple[str, ...]
    starts_mm: np.ndarray
    points_mm: np.ndarray
    true_mm: np.ndarray
    steps: np.ndarray
    status: np.ndarray

    @property
    def error_mm(self) -> np.ndarray:
        """`[n, landmark, seed, start]`."""
        return np.linalg.norm(self.points_mm - self.true_mm[:, :, None, None], axis=-1)

    @property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """What metrics take: `present` and `found`."""
        cases = len(self.case_id)
        present = np.broadcast_to(
            ~np.isnan(self.true_mm).any(-1)[:, :, None, None], self.steps.shape
        )
        outcomes = np.stack([self.error_mm, self.steps, self.status], -1)
        return present.reshape(cases, -1), outcomes.reshape(cases, -1, 3)

    def at_worst(self, split: Split) -> "Searches":
        true = self.true_mm[:, :, None, None]
        return dataclasses.replace(self, points_mm=found_at_worst(self.points_mm, true, split))

    def select(self, *, landmark: int | None = None, seed: int | None = None) -> "Searches":
        """Those for one landmark, or of one seed, alone."""
        mark = slice(None) if landmark is None else slice(landmark, landmark + 1)
        seeds = slice(None) if seed is None else slice(seed, seed + 1)
        return dataclasses.replace(
            self,
            names=self.names[mark],
            true_mm=self.true_mm[:, mark],
            **{
                k: getattr(self, k)[:, mark, seeds]
                for k in ("starts_mm", "points_mm", "steps", "status")
            },
        )

    def variance(self) -> dict[str, float]:
        """Shares of the variance of the error; see `search_metrics.variance_shares`."""
        return search_metrics.variance_shares(self.error_mm)

    def write(self, path: Path) -> None:
        """One row a volume, landmark, seed and start; empty where there is no point."""
        axes = "xyz"[: self.true_mm.shape[-1]]
        error = self.error_mm
        header = [
            "case_id",
            "subject_id",
            "landmark",
            "seed",
            "start",
            *(f"{k}_{a}_mm" for k in ("start", "pred", "true") for a in axes),
            "error_mm",
            "steps",
            "ended",
        ]
        write_table(
            path,
            header,
            (
                [
                    self.case_id[i],
                    self.subject_id[i],
                    self.names[j],
                    seed,
                    start,
                    *self.starts_mm[at],
                    *self.points_mm[at],
                    *self.true_mm[i, j],
                    error[at],
                    int(self.steps[at]),
                    STATUS[int(self.status[at])],
                ]
                for at in np.ndindex(self.steps.shape)
                for i, j, seed, start in [at]
            ),
        )


def in_world(
    split: Split,
    names: Sequence[str],
    begun: np.ndarray,
    places: np.ndarray,
    steps: np.ndarray,
    status: np.ndarray,
) -> Searches:
    """Searches whose points are given in voxels of the prepared images.

    Args:
      starts_mm, points_mm: `[n, landmark, seed, start, ndim]`; the others without the last axis.
    """
    place = split["to_world"]
    return Searches(
        split.case_id,
        split.subject_id,
        tuple(names),
        geometry.apply_each(place, begun),
        geometry.apply_each(place, places),
        reference(split)[1],
        steps,
        status,
    )


def at_voxels(split: Split, names: Sequence[str], points: np.ndarray) -> LandmarkPredictions:
    """Points `[n, landmark, ndim]` in voxels of the prepared images, of which one is certain."""
    return from_voxels(split, names, points, np.ones(points.shape[:2]))


def consensus(split: Split, searches: Searches) -> LandmarkPredictions:
    """One answer a volume, of all searches, starts and seeds; see `ops.consensus.median`."""
    world = searches.points_mm.reshape(
        *searches.points_mm.shape[:2], -1, searches.points_mm.shape[-1]
    )
    flat = geometry.apply_each(np.linalg.inv(split["to_world"]), world)  # [n, landmark, search, .]
    middle, near = map(np.asarray, _median(flat.astype(np.float32)))
    return from_voxels(split, searches.names, middle.astype(float), near.astype(float))


def corrected(
    split: Split, points: LandmarkPredictions, shapes: np.ndarray, *, threshold: float
) -> LandmarkPredictions:
    """Points that do not fit the shape of the others where they would; see `ops.shape_model`.
    What was not found stays so.

    Args:
      shapes: `[case, landmark, ndim]` of the training split, voxels of the prepared images.
      threshold: standard deviations from which a point does not fit.
    """
    model = shape_model.fit_model(jnp.asarray(shapes, jnp.float32))
    there = geometry.apply_each(np.linalg.inv(split["to_world"]), points.points_mm)
    fit = jax.vmap(lambda p: shape_model.correct(model, p, threshold=threshold))(
        jnp.asarray(there, jnp.float32)
    )
    missing = np.isnan(points.points_mm)  # what is said to be absent stays so
    mended = np.where(missing, np.nan, np.asarray(fit.points))
    return from_voxels(split, points.names, mended, points.confidence)


def as_searches(points: LandmarkPredictions) -> Searches:
    """One answer a volume and landmark, so that it can stand beside searches."""
    places_mm = points.points_mm[:, :, None, None]
    gone = np.isnan(places_mm).any(-1)
    return Searches(
        points.case_id,
        points.subject_id,
        points.names,
        np.full_like(places_mm, np.nan),
        places_mm,
        points.true_mm,
        np.full(gone.shape, np.nan),
        np.where(gone, LEFT, RESTED),
    )


def from_run(path: Path, like: Searches) -> Searches:
    """The predictions of a run of `medjax heatmap`, for the cases and landmarks of `like`.

    Raises:
      UserError: if it lacks one of them.
    """
    there = LandmarkPredictions.read(path)
    for kind, wanted, known in (
        ("case", like.case_id, there.case_id),
        ("landmark", like.names, there.names),
    ):
        lacking = next((name for name in wanted if name not in known), None)
        if lacking is not None:
            raise UserError(f"{path}: has no {kind} {lacking!r}; run it on the same set and split")
    rows = [there.case_id.index(name) for name in like.case_id]
    columns = [there.names.index(name) for name in like.names]
    there_mm = there.true_mm[rows][:, columns]
    if there_mm.shape != like.true_mm.shape or not np.allclose(
        there_mm, like.true_mm, atol=1e-3, equal_nan=True
    ):
        raise UserError(
            f"{path}: has other reference points for these cases; run it on the same set, in as "
            "many axes"
        )
    every = as_searches(there)
    return dataclasses.replace(
        like,
        **{
            k: getattr(every, k)[rows][:, columns]
            for k in ("starts_mm", "points_mm", "steps", "status")
        },
    )


def compare(a: Searches, b: Searches, *, samples: int) -> Json:
    """The mean error of b minus that of a, in mm, each with one answer a volume, of points that
    both found: paired interval and permutation test."""
    present, _ = a.table
    result = stats.compare(
        landmark_metrics.error_mm,
        present,
        a.table[1][..., 0],
        b.table[1][..., 0],
        a.subject_id,
        samples=samples,
    )
    return {
        "difference_mm": result.difference,
        "p_value": result.p_value,
        "common": result.common,
        "points": result.points,
    }

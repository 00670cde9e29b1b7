"""A model of how landmarks lie to each other, which finds and mends those that lie elsewhere.

Ghesu et al., TPAMI 41:176-189 (2019), section 3.4: a normal distribution of each landmark in a
normalised space, and an M-estimator sample consensus over sets of three points.
"""

import itertools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array


class ShapeModel(NamedTuple):
    """Where landmarks lie after shift and scale are taken out.

    Attributes:
      mean: `[landmark, ndim]`.
      precision: `[landmark, ndim, ndim]`, inverse covariances.
    """

    mean: Array
    precision: Array


class Fit(NamedTuple):
    """A model laid onto points.

    Attributes:
      points: `[landmark, ndim]`, those that do not fit at their mean place.
      distance: `[landmark]`, of each from the model, in standard deviations (Mahalanobis).
      outlier: `[landmark]`, which were replaced.
    """

    points: Array
    distance: Array
    outlier: Array


def fit_model(shapes: Array, *, floor: float = 1e-2) -> ShapeModel:
    """The model of shapes `[case, landmark, ndim]`, in any unit, all points known.

    Args:
      floor: added to every standard deviation, as a share of the size of a shape, which is 1.
    """
    chex.assert_rank(shapes, 3)

    def normalise(shape: Array) -> Array:
        away = shape - shape.mean(0)
        return away / jnp.sqrt((away**2).sum(-1).mean())

    placed = jax.vmap(normalise)(shapes)
    mean = placed.mean(0)
    away = placed - mean
    covariance = jnp.einsum("nki,nkj->kij", away, away) / max(len(shapes) - 1, 1)
    covariance += floor**2 * jnp.eye(shapes.shape[-1])
    return ShapeModel(mean, jnp.linalg.inv(covariance))


def correct(model: ShapeModel, points: Array, *, threshold: float = 3.0) -> Fit:
    """The points `[landmark, ndim]` (NaN where not found), outliers at their mean place.

    Every three points lay the model onto the image by shift and scale; the laying counts for which
    the truncated squared distances of all points are least (MSAC, Torr and Zisserman 2000). The
    model is then laid once more, by all points that fit. Where fewer than three are known, or no
    laying fits three of them, there is no model: all stay as they are, their distance NaN.

    Args:
      threshold: standard deviations from which a point is an outlier.
    """
    chex.assert_equal_shape([model.mean, points])
    known = ~jnp.isnan(points).any(-1)
    place = jnp.nan_to_num(points)
    sets = jnp.array(list(itertools.combinations(range(len(points)), 3)))

    def cost(rows: Array) -> Array:
        weight = jnp.zeros(len(points)).at[rows].set(1.0) * known
        square = _squares(model, place, *_lay(model.mean, place, weight))
        total = jnp.where(known, jnp.minimum(square, threshold**2), threshold**2).sum()
        return jnp.where(weight.sum() == 3, total, jnp.inf)

    best = sets[jnp.argmin(jax.vmap(cost)(sets))]
    weight = jnp.zeros(len(points)).at[best].set(1.0) * known
    square = _squares(model, place, *_lay(model.mean, place, weight))
    weight = (known & (square < threshold**2)).astype(place.dtype)
    shift, scale = _lay(model.mean, place, weight)
    square = jnp.where(known, _squares(model, place, shift, scale), jnp.inf)
    enough = weight.sum() >= 3
    outlier = enough & (square >= threshold**2)
    mended = jnp.where(outlier[:, None], shift + scale * model.mean, points)
    return Fit(mended, jnp.where(enough, jnp.sqrt(square), jnp.nan), outlier)


def _lay(mean: Array, points: Array, weight: Array) -> tuple[Array, Array]:
    """Shift and scale that bring the mean shape nearest to the points, by least squares."""
    total = jnp.maximum(weight.sum(), 1e-9)
    here, there = weight @ mean / total, weight @ points / total
    a, b = mean - here, points - there
    scale = (weight @ (a * b).sum(-1)) / jnp.maximum(weight @ (a * a).sum(-1), 1e-12)
    scale = jnp.maximum(scale, 1e-6)  # no mirror images
    return there - scale * here, scale


def _squares(model: ShapeModel, points: Array, shift: Array, scale: Array) -> Array:
    """Squared Mahalanobis distances, in the space of the model."""
    away = (points - shift) / scale - model.mean
    return jnp.einsum("ki,kij,kj->k", away, model.precision, away)

"""Random augmentation of one image, its landmarks and its mask, inside the training step."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.config import option
from medjax.ops import grid, intensity, warp
from medjax.typing import Array, Key


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far each transform may go; zero (or an empty tuple) switches it off.

    Attributes:
      flip: axes to mirror, each with probability one half.
      rotate_degrees: rotation within +- this (about each axis in 3-D).
      scale: size factor within [1 / (1 + scale), 1 + scale].
      stretch: the same for each axis alone.
      shear: shear within +- this.
      translate: shift within +- this fraction of each side.
      crop: zooms into a random window of at least this share of each side (0 off).
      elastic: displacements up to this share of what can never fold (see `warp.fold_limit`).
      elastic_points: control points of the displacement along each axis.
      contrast: contrast factor within 1 +- this.
      brightness: offset within +- this.
      gamma: exponent within [1 / (1 + gamma), 1 + gamma].
      noise: Gaussian noise of a standard deviation up to this.
      erase: one box of up to this share of each side is set to the image's mean.
    """

    flip: tuple[int, ...] = option((), "axes mirrored at random, comma-separated", item=int)
    rotate_degrees: float = option(0.0, "random rotation, at most", least=0)
    scale: float = option(0.0, "random size, at most this much more or less", least=0)
    stretch: float = option(0.0, "the same for each axis alone", least=0)
    shear: float = option(0.0, "random shear, at most", least=0)
    translate: float = option(0.0, "random shift, at most this share of a side", least=0)
    crop: float = option(
        0.0, "random window, at least this share of a side; 0 is off", least=0, below=1
    )
    elastic: float = option(
        0.0, "random deformation, at most this share of what could fold", least=0, below=1
    )
    elastic_points: int = option(5, "its control points along each axis", least=3)
    contrast: float = option(0.0, "random contrast, at most", least=0)
    brightness: float = option(0.0, "random brightness, at most", least=0)
    gamma: float = option(0.0, "random gamma, at most", least=0)
    noise: float = option(0.0, "random noise, at most", least=0)
    erase: float = option(0.0, "random erased box, at most this share of a side", least=0, below=1)

    @property
    def is_spatial(self) -> bool:
        return any(
            [
                self.rotate_degrees,
                self.scale,
                self.stretch,
                self.shear,
                self.translate,
                self.crop,
                self.elastic,
            ]
        )


Pair = tuple[Array, Array]  # an image and its target


class Sample(NamedTuple):
    """What moves together.

    Attributes:
      image: `[*space, channel]`, values in [0, 1] or about.
      points: `[n, ndim]`, voxels; NaN where missing.
      mask: `[*space]`, whole numbers, or None.
    """

    image: Array
    points: Array
    mask: Array | None = None


def augment(
    key: Key, image: Array, *, augmentation: Augmentation, voxel: tuple[float, ...] = ()
) -> Array:
    """One random version of `image` `[*space, channel]`, values in [0, 1] or about.

    Args:
      voxel: its size along each axis, in any unit; empty: the same along all.
    """
    chex.assert_rank(image, {3, 4})
    sample = Sample(image, jnp.zeros((0, image.ndim - 1)))
    return augment_together(key, sample, augmentation=augmentation, voxel=voxel).image


def augment_together(
    key: Key,
    sample: Sample,
    *,
    augmentation: Augmentation,
    mirrored: tuple[tuple[int, int], ...] = (),
    into: warp.Shape | None = None,
    voxel: tuple[float, ...] = (),
    keep_outside: bool = False,
) -> Sample:
    """One random version of an image, its points and its mask.

    Spatial transforms are composed and interpolated once; outside the image the border repeats. A
    point that leaves the image is missing.

    Args:
      mirrored: pairs of points that change places when the image is a mirror image.
      into: space of the output; smaller than the input it is a random window.
      voxel: its size along each axis, in any unit; empty: the same along all.
      keep_outside: points that leave the image stay where they come to lie.
    """
    chex.assert_rank(sample.image, {3, 4})
    space_key, flip_key, erase_key, tone_key = jax.random.split(key, 4)
    space = into or sample.image.shape[:-1]
    if augmentation.is_spatial or into:
        transform = random_transform(
            space_key, sample.image.shape[:-1], augmentation=augmentation, into=into, voxel=voxel
        )
        sample = _warp(sample, transform, into)
    sample = random_flip(flip_key, sample, axes=augmentation.flip, mirrored=mirrored)
    image = random_tone(tone_key, sample.image, augmentation=augmentation)
    image = (
        random_erase(erase_key, image, share=augmentation.erase) if augmentation.erase else image
    )
    points = sample.points if keep_outside else drop_outside(sample.points, shape=space)
    return Sample(image, points, sample.mask)


def drop_outside(points: Array, *, shape: tuple[int, ...]) -> Array:
    """Points `[..., ndim]`, voxels; NaN where they lie outside an image of this shape."""
    chex.assert_axis_dimension(points, -1, len(shape))
    inside = ((points >= -0.5) & (points <= jnp.asarray(shape) - 0.5)).all(-1, keepdims=True)
    return jnp.where(inside, points, jnp.nan)


def _warp(sample: Sample, transform: warp.Transform, into: warp.Shape | None) -> Sample:
    shape = sample.image.shape[:-1]
    # The barrier keeps XLA from repeating the interpolation in each of its consumers.
    moved = warp.image(sample.image, transform, into=into)
    image = jax.lax.optimization_barrier(moved)  # type: ignore[no-untyped-call]
    points = (
        warp.points(sample.points, transform, shape=shape, into=into)
        if len(sample.points)
        else sample.points
    )
    mask = None if sample.mask is None else warp.mask(sample.mask, transform, into=into)
    return Sample(image, points, mask)


def random_transform(
    key: Key,
    shape: tuple[int, ...],
    *,
    augmentation: Augmentation,
    into: warp.Shape | None = None,
    voxel: tuple[float, ...] = (),
) -> warp.Transform:
    """A random affine, elastic and window transform of an image of this shape."""
    elastic_key, window_key = jax.random.split(jax.random.fold_in(key, 1))
    matrix = random_affine(key, shape, augmentation=augmentation, voxel=voxel)
    if into:
        room = (jnp.asarray(shape) - jnp.asarray(into)) / 2.0
        shift = jax.random.uniform(window_key, room.shape, minval=-1.0) * jnp.maximum(room, 0.0)
        matrix = matrix.at[:, -1].add(shift)
    if not augmentation.elastic:
        return warp.Transform(matrix)
    ndim, count = len(shape), augmentation.elastic_points
    limit = augmentation.elastic * warp.fold_limit(into or shape, count=count)
    size = (ndim, *(count + 2,) * ndim)
    part = jax.random.uniform(elastic_key, size, minval=-1.0)
    return warp.Transform(matrix, grid.column(limit, ndim=ndim) * part)


def random_affine(
    key: Key, shape: tuple[int, ...], *, augmentation: Augmentation, voxel: tuple[float, ...] = ()
) -> Array:
    """A random map from output to input coordinates about the centre: `[ndim, ndim + 1]`.

    Args:
      voxel: its size along each axis: where it differs, what is a rotation in millimetres is none
        of the voxels' own axes.
    """
    ndim = len(shape)
    keys = jax.random.split(key, 7)

    def spread(k: Key, size: int, limit: float | Array) -> Array:
        return jax.random.uniform(k, (size,), minval=-limit, maxval=limit)

    side = jnp.asarray(shape, jnp.float32)
    rotation = jnp.deg2rad(spread(keys[0], 1 if ndim == 2 else 3, augmentation.rotate_degrees))
    factor = jnp.exp(
        spread(keys[1], 1, jnp.log1p(augmentation.scale))
        + spread(keys[2], ndim, jnp.log1p(augmentation.stretch))
    )
    shear = spread(keys[3], ndim * (ndim - 1) // 2, augmentation.shear)
    shift = spread(keys[4], ndim, augmentation.translate) * side
    if augmentation.crop:
        window = jax.random.uniform(keys[5], (1,), minval=augmentation.crop, maxval=1.0)
        factor = factor * window
        shift = shift + spread(keys[6], ndim, 0.5) * (1.0 - window) * side
    matrix = grid.affine_matrix(rotation, factor, shear, shift)
    if not voxel:
        return matrix
    size = jnp.asarray(voxel, jnp.float32)
    return matrix.at[:, :-1].set(matrix[:, :-1] * size / size[:, None])


def random_flip(
    key: Key, sample: Sample, *, axes: tuple[int, ...], mirrored: tuple[tuple[int, int], ...] = ()
) -> Sample:
    """Mirrors each of `axes` with probability one half.

    An odd number of mirrors makes a mirror image, in which the `mirrored` points change places.
    """
    chex.assert_rank(sample.image, {3, 4})
    image, points, mask = sample
    odd = jnp.zeros((), bool)
    for axis, k in zip(axes, jax.random.split(key, max(len(axes), 1)), strict=False):
        now = jax.random.bernoulli(k)
        image = jnp.where(now, jnp.flip(image, axis), image)
        across = points.at[:, axis].set(image.shape[axis] - 1.0 - points[:, axis])
        points = jnp.where(now, across, points)
        mask = None if mask is None else jnp.where(now, jnp.flip(mask, axis), mask)
        odd = odd ^ now
    points = jnp.where(odd, swap(points, pairs=mirrored), points) if mirrored else points
    return Sample(image, points, mask)


def swap(points: Array, *, pairs: Sequence[tuple[int, int]]) -> Array:
    """The points `[n, ndim]` with those of each pair exchanged."""
    chex.assert_rank(points, 2)
    order = list(range(len(points)))
    for a, b in pairs:
        order[a], order[b] = b, a
    return points[jnp.array(order)]


def random_tone(key: Key, image: Array, *, augmentation: Augmentation) -> Array:
    """Random gamma, contrast, brightness and noise."""
    chex.assert_rank(image, {3, 4})
    keys = jax.random.split(key, 5)
    limit = jnp.log1p(augmentation.gamma)
    if augmentation.gamma:
        exponent = jnp.exp(jax.random.uniform(keys[0], minval=-limit, maxval=limit))
        image = intensity.gamma(image, exponent)
    if augmentation.contrast or augmentation.brightness:
        factor = 1.0 + jax.random.uniform(
            keys[1], minval=-augmentation.contrast, maxval=augmentation.contrast
        )
        offset = jax.random.uniform(
            keys[2], minval=-augmentation.brightness, maxval=augmentation.brightness
        )
        image = intensity.contrast(image, factor, offset)
    if augmentation.noise:
        sd = jax.random.uniform(keys[3], maxval=augmentation.noise)
        image = intensity.noise(keys[4], image, sd)
    return image


def random_erase(key: Key, image: Array, *, share: float) -> Array:
    """Sets one random box, each side up to `share` of the image's, to the image's mean.

    After the idea of Zhong et al., Random Erasing (AAAI 2020).
    """
    chex.assert_rank(image, {3, 4})
    shape = image.shape[:-1]
    size_key, place_key = jax.random.split(key)
    side = jnp.asarray(shape, jnp.float32)
    half = jax.random.uniform(size_key, side.shape, maxval=share) * side / 2.0
    centre = jax.random.uniform(place_key, side.shape) * side
    where = [jnp.abs(jnp.arange(n) - c) < h for n, c, h in zip(shape, centre, half, strict=True)]
    box = where[0]
    for line in where[1:]:
        box = box[..., None] & line
    return jnp.where(box[..., None], image.mean(), image)


def mixup(key: Key, pair: Pair, other: Pair, *, alpha: float) -> Pair:
    """Blends two (image, target) pairs with one weight from Beta(alpha, alpha).

    Zhang et al., mixup (ICLR 2018), equation 1. `target` is a probability vector.
    """
    chex.assert_rank([pair[1], other[1]], 1)
    weight = jax.random.beta(key, alpha, alpha)
    return jax.tree.map(lambda a, b: weight * a + (1.0 - weight) * b, pair, other)

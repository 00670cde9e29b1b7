"""Landmark localisation by heatmap regression.

Payer et al., MICCAI 2016 (doi 10.1007/978-3-319-46723-8_27) and Medical Image
Analysis 54 (2019). A network gives one map a landmark; its target is a Gaussian about the point.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from medjax import losses
from medjax.ops import heatmap
from medjax.ops.augment import Augmentation, Sample, augment, augment_together, drop_outside, swap
from medjax.ops.consensus import in_one_order
from medjax.ops.preprocess import Preprocessing
from medjax.ops.window import tiled
from medjax.tasks.base import apply_network
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

LOSSES = ("l2", "cross_entropy")
DECODERS = ("peak", "soft_argmax", "mass")
NO_AUGMENTATION = Augmentation()
Pairs = Sequence[tuple[int, int]]


def make(
    model: Any,
    *,
    image_shape: tuple[int, ...],
    num_landmarks: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation = NO_AUGMENTATION,
    loss: str = "l2",
    decoder: str = "peak",
    sigma: float = 3.0,
    learn_sigma: float = 0.0,
    coordinate_weight: float = 0.0,
    mirrored: Pairs = (),
    unordered: Pairs = (),
    window: tuple[int, ...] | None = None,
    absent_below: float = 0.0,
    own_loss: losses.LossFunction | None = None,
    views: int = 1,
) -> Task:
    """Heatmap regression with `model`.

    It predicts `points` `[batch, landmark, ndim]` in voxels, and their `confidence` `[batch,
    landmark]`: the height of the map (`l2`), or the probability near the point. The parameters are
    `{"net": ..., "log_sigma": [landmark]}`.

    Args:
      model: a network with `apply`, from `[batch, *space, channel]` to a map a landmark.
      image_shape: of one example, `[*space, channel]`.
      num_landmarks: how many landmarks.
      preprocessing: what is done to pixels first.
      augmentation: how images vary in training.
      loss: `l2`, or `cross_entropy` between the softmax over all voxels and the target.
      decoder: peak, soft_argmax or mass (centre of mass about the peak).
      sigma: of the target, voxels; where it is learned, at the start.
      learn_sigma: weight of `|sigma|^2` in the loss, with targets of constant mass (2019,
        equation 5); 0 keeps sigma.
      coordinate_weight: of the distance, in voxels, between soft-arg-max and point; both the
        weight and the decoder soft_argmax are for cross_entropy, whose maps are logits.
      mirrored: pairs that change places in a mirror image.
      unordered: pairs without an order of their own: the order with the smaller loss counts.
      window: train on random windows of this shape and predict by overlapping ones, for `l2`;
        None: whole images.
      absent_below: points of less confidence are NaN.
      own_loss: of the map of a landmark and its Gaussian target, both `[*space]`, in place of the
        one that `loss` names; points are still decoded as `loss` says.
      views: points are the mean over this many random views, without mirror images (1: the image
        as it is).
    """
    if loss not in LOSSES or decoder not in DECODERS:
        raise ValueError(f"loss {loss!r}, decoder {decoder!r}: known are {LOSSES}, {DECODERS}")
    if loss == "l2" and (decoder == "soft_argmax" or coordinate_weight):
        raise ValueError("heights are no logits: soft_argmax needs the loss cross_entropy")
    if loss == "cross_entropy" and window:
        raise ValueError("probabilities over a window are none over the image: use the loss l2")

    loss_of_example = functools.partial(
        example_loss,
        unordered=unordered,
        kind=loss,
        sigma=sigma,
        learn_sigma=learn_sigma,
        coordinate_weight=coordinate_weight,
        own_loss=own_loss,
    )

    def init(key: Key) -> tuple[Params, Stats]:
        shape = (*(window or image_shape[:-1]), image_shape[-1])
        variables = dict(model.init(key, jnp.zeros((1, *shape)), train=False))
        width = jnp.full((num_landmarks,), jnp.log(sigma))
        return {"net": variables["params"], "log_sigma": width}, variables.get("batch_stats", {})

    def network(
        params: Params, stats: Stats, images: Array, *, train: bool, key: Key | None = None
    ) -> tuple[Array, Stats]:
        inputs = preprocessing.standardise(images)
        return apply_network(model, params["net"], stats, inputs, train=train, key=key)

    def score(params: Params, maps: Array, points: Array, known: Array) -> Array:
        return loss_of_example(maps, points, known, params["log_sigma"])

    def batch_loss(key: Key, params: Params, stats: Stats, batch: Batch):
        augment_key, dropout_key = jax.random.split(key)
        keys = jax.random.split(augment_key, batch["image"].shape[0])

        def vary(k: Key, image: Array, points: Array) -> Sample:
            return augment_together(
                k,
                Sample(preprocessing.unit(image), points),
                augmentation=augmentation,
                mirrored=tuple(mirrored),
                into=window,
                keep_outside=True,
            )

        varied = jax.vmap(vary)(keys, batch["image"], batch["landmarks"])
        maps, stats = network(params, stats, varied.image, train=True, key=dropout_key)
        # Of the varied points, since mirror images exchange left and right.
        known = ~jnp.isnan(varied.points).any(-1)
        points = drop_outside(varied.points, shape=varied.image.shape[1:-1])
        value = jax.vmap(score, (None, 0, 0, 0))(params, maps, points, known).mean()
        sigma = {"sigma": jnp.exp(params["log_sigma"]).mean()} if learn_sigma else {}
        return value, (stats, {"loss": value, **sigma})

    def maps(params: Params, stats: Stats, unit: Array) -> Array:
        def apply_network(images: Array) -> Array:
            return network(params, stats, images, train=False)[0]

        if window is None:
            return apply_network(unit)
        return jax.lax.map(
            lambda x: tiled(x, apply=lambda part: apply_network(part[None])[0], window=window), unit
        )

    def mean_over_views(
        params: Params, stats: Stats, unit: Array, points: Array, confidence: Array
    ) -> tuple[Array, Array]:
        """The mean with further views, `[batch, landmark, ...]`, their points brought back."""

        def view(number: Array) -> tuple[Array, Array]:
            # All images in one way, so that no answer depends on which others it is asked with.
            key = jax.random.fold_in(jax.random.key(0), number)
            varied, back = view_and_way_back(key, unit, augmentation=augmentation)
            places, certain = locate(params, maps(params, stats, varied))
            return jax.vmap(back)(places), certain

        others, certain = jax.lax.map(view, jnp.arange(1, views))
        places, certain = in_one_order(
            jnp.concatenate([points[None], others]),
            jnp.concatenate([confidence[None], certain]),
            pairs=unordered,
        )
        return jnp.nanmean(places, 0), certain.mean(0)

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        unit = preprocessing.unit(batch["image"])
        heatmaps = maps(params, stats, unit)
        points, confidence = locate(params, heatmaps)
        if views > 1:
            points, confidence = mean_over_views(params, stats, unit, points, confidence)
        # Not `<`: a map that is not finite has found nothing.
        points = jnp.where((confidence >= absent_below)[..., None], points, jnp.nan)
        located = {"points": points, "confidence": confidence}
        if "landmarks" not in batch:
            return located
        known = ~jnp.isnan(batch["landmarks"]).any(-1)
        losses = jax.vmap(score, (None, 0, 0, 0))(params, heatmaps, batch["landmarks"], known)
        return {**located, "loss": losses}

    decode = functools.partial(
        decode_maps, loss=loss, decoder=decoder, radius=max(2, round(2 * sigma))
    )

    def locate(params: Params, heatmaps: Array) -> tuple[Array, Array]:
        return jax.vmap(decode, (0, None))(heatmaps, jnp.exp(params["log_sigma"]))

    return Task(init, batch_loss, predict)


def view_and_way_back(
    key: Key, images: Array, *, augmentation: Augmentation
) -> tuple[Array, Callable[[Array], Array]]:
    """One random view of all images `[batch, *space, channel]`, and the map of points `[landmark,
    ndim]` in it, voxels, to where they lie in the images."""
    chex.assert_rank(images, {4, 5})
    plain = dataclasses.replace(augmentation, flip=())  # mirror images have other names
    moves = dataclasses.replace(
        plain, contrast=0.0, brightness=0.0, gamma=0.0, noise=0.0, erase=0.0
    )
    shape = images.shape[1:-1]
    voxels = jnp.stack(jnp.meshgrid(*map(jnp.arange, shape), indexing="ij"), -1)
    # The same transform of an image that holds at each voxel where that voxel lies.
    origin = augment(key, voxels.astype(jnp.float32), augmentation=moves)
    varied = jax.vmap(lambda image: augment(key, image, augmentation=plain))(images)

    def back(points: Array) -> Array:
        """Linear between voxels."""
        at = [points[:, axis] for axis in range(len(shape))]

        def read(channel: Array) -> Array:
            return jax.scipy.ndimage.map_coordinates(channel, at, order=1, mode="nearest")

        return jax.vmap(read, -1, -1)(origin)

    return varied, back


def decode_maps(
    maps: Array, sigmas: Array, *, loss: str, decoder: str, radius: int
) -> tuple[Array, Array]:
    """Maps `[*space, landmark]` to points `[landmark, ndim]` and their confidence `[landmark]`.

    Args:
      sigmas: of the Gaussians that the maps are meant to be, voxels: `[landmark]`.
      loss, decoder: as of `make`.
      radius: of what counts as near the highest voxel, voxels.
    """
    chex.assert_rank([maps, sigmas], [{3, 4}, 1])
    return jax.vmap(lambda m, s: _decode(m, s, loss, decoder, radius), (-1, 0))(maps, sigmas)


def example_loss(
    maps: Array,
    points: Array,
    known: Array,
    log_sigmas: Array,
    *,
    unordered: Pairs = (),
    **options: Any,
) -> Array:
    """The loss of one example, the mean over its landmarks.

    Args:
      maps: `[*space, landmark]`; points: `[landmark, ndim]`; known, log_sigmas: `[landmark]`.
      unordered: as of `make`; options: those of `landmark_loss`.
    """
    chex.assert_rank([maps, points, known, log_sigmas], [{3, 4}, 2, 1, 1])
    by_landmark: Any = jax.vmap(functools.partial(landmark_loss, **options))
    first = jnp.moveaxis(maps, -1, 0)
    values = by_landmark(first, points, known, log_sigmas)
    if unordered:
        turned, also_known = (swap(x, pairs=unordered) for x in (points, known[:, None]))
        other = by_landmark(first, turned, also_known[:, 0], log_sigmas)
        for a, b in unordered:
            pair = jnp.array([a, b])
            best = jnp.where(values[pair].sum() <= other[pair].sum(), values[pair], other[pair])
            values = values.at[pair].set(best)
    return values.mean()


def landmark_loss(
    logits: Array,
    point: Array,
    known: Array,
    log_sigma: Array,
    *,
    kind: str,
    sigma: float,
    learn_sigma: float = 0.0,
    coordinate_weight: float = 0.0,
    own_loss: losses.LossFunction | None = None,
) -> Array:
    """The loss of one landmark, by its map `[*space]`; `kind` is the loss of `make`, whose options
    the others are.

    It is zero where the landmark is not `known`. One that is known, but whose point is NaN, lies
    outside: its target is empty (`l2`) or there is none (`cross_entropy`).
    """
    chex.assert_rank([logits, point, known, log_sigma], [{2, 3}, 1, 0, 0])
    width = jnp.exp(log_sigma) if learn_sigma else jnp.full((), sigma)
    target = heatmap.gaussian(point, width, shape=logits.shape)
    if own_loss is not None:
        value = own_loss(logits, target)
    elif kind == "l2":
        scale = (sigma / width) ** logits.ndim  # constant mass; the peak is 1 at the start
        value = losses.squared_error(logits, scale * target) + learn_sigma * width**2
    else:
        value = losses.voxel_cross_entropy(logits, target)
    if coordinate_weight:
        guess, _ = heatmap.soft_argmax(logits)
        away = jnp.sqrt(jnp.sum((guess - jnp.nan_to_num(point)) ** 2) + 1e-6)
        value += jnp.where(jnp.isnan(point).any(), 0.0, coordinate_weight * away)
    return jnp.where(known, value, 0.0)


def _decode(
    logits: Array, sigma: Array, loss: str, decoder: str, radius: int
) -> tuple[Array, Array]:
    if decoder == "soft_argmax":
        return heatmap.soft_argmax(logits)
    if loss == "cross_entropy":
        logits = jax.nn.softmax(logits.reshape(-1)).reshape(logits.shape)
    point, height = (
        heatmap.peak(logits)
        if decoder == "peak"
        else heatmap.centre_of_mass(logits, radius=radius, sigma=sigma)
    )
    if loss == "cross_entropy":
        height = heatmap.mass_near(logits, point, radius=radius)
    return point, height

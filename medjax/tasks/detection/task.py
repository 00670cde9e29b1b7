"""Detection by peaks and distances to the sides of boxes, without anchors.

Zhou et al. 2019 (arXiv 1904.07850) and Tian et al. 2019 (arXiv 1904.01355), with the loss of
Rezatofighi et al. 2019 for boxes; see `ops.centres`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from medjax import losses
from medjax.ops import boxes as box_ops
from medjax.ops import centres
from medjax.ops.augment import Augmentation, Sample, augment_together
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.base import apply_network, mean_over_views
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

NO_AUGMENTATION = Augmentation()
_LEAST_SEEN = 0.3  # of a box, that augmentation leaves in the image


def make(
    model: Any,
    *,
    image_shape: tuple[int, ...],
    num_classes: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation = NO_AUGMENTATION,
    stride: int = 4,
    most: int = 100,
    overlap: float = 0.5,
    mirror: tuple[int, ...] = (),
    box_weight: float = 1.0,
) -> Task:
    """Detection with `model`.

    It predicts `boxes` `[batch, most, 2 * ndim]` in voxels, the best first, their `scores` and
    `labels` `[batch, most]`; a score is NaN where there is no box.

    Args:
      model: a network with `apply`, from `[batch, *space, channel]` to `BoxMaps`.
      image_shape: of one example, `[*space, channel]`.
      preprocessing: what is done to pixels first.
      augmentation: how images vary in training; boxes move with them.
      stride: of the maps; most: boxes of an image; overlap: of boxes of one class, above which the
        lower score goes.
      mirror: axes of the image that maps are averaged over, both ways.
      box_weight: in the loss, of one less generalised intersection over union.
    """

    def init(key: Key) -> tuple[Params, Stats]:
        variables = dict(model.init(key, jnp.zeros((1, *image_shape)), train=False))
        return variables["params"], variables.get("batch_stats", {})

    def network(params: Params, stats: Stats, unit: Array, *, train: bool) -> tuple[Any, Stats]:
        return apply_network(model, params, stats, preprocessing.standardise(unit), train=train)

    def vary(key: Key, image: Array, boxes: Array) -> tuple[Array, Array]:
        points = points_of(boxes)
        sample = Sample(preprocessing.unit(image), points.reshape(-1, points.shape[-1]))
        varied = augment_together(key, sample, augmentation=augmentation, keep_outside=True)
        moved = boxes_about(varied.points.reshape(points.shape))
        return varied.image, cut_to_image(moved, shape=image_shape[:-1])

    def batch_loss(key: Key, params: Params, stats: Stats, batch: Batch):
        keys = jax.random.split(key, batch["image"].shape[0])
        images, boxes = jax.vmap(vary)(keys, batch["image"], batch["boxes"])
        maps, stats = network(params, stats, images, train=True)

        def example(logits: Array, distances: Array, boxes: Array, labels: Array):
            return example_loss(
                logits, distances, boxes, labels, stride=stride, num_classes=num_classes
            )

        heat, box = jax.vmap(example)(maps.logits, maps.distances, boxes, batch["box_label"])
        value = heat.mean() + box_weight * box.mean()
        return value, (stats, {"loss": value, "heat_loss": heat.mean(), "box_loss": box.mean()})

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        unit = preprocessing.unit(batch["image"])

        def view(axes: tuple[int, ...]) -> tuple[Array, Array]:
            maps, _ = network(params, stats, jnp.flip(unit, axes), train=False)
            heat = jax.nn.sigmoid(maps.logits)
            return jnp.flip(heat, axes), flip_distances(maps.distances, axes)

        decode = functools.partial(centres.decode, stride=stride, most=most, overlap=overlap)
        return jax.vmap(decode)(*mean_over_views(view, mirror))._asdict()

    return Task(init, batch_loss, predict)


def flip_distances(distances: Array, axes: tuple[int, ...]) -> Array:
    """Distances to sides `[batch, *map, 2 * ndim]` of a mirrored image as those of the image.

    Args:
      axes: those that were mirrored, the first of space is 1: their low and high sides change
        places.
    """
    ndim = distances.shape[-1] // 2
    order = [(s + ndim * (s % ndim + 1 in axes)) % (2 * ndim) for s in range(2 * ndim)]
    return jnp.flip(distances, axes)[..., jnp.array(order)]


def example_loss(
    logits: Array, distances: Array, boxes: Array, labels: Array, *, stride: int, num_classes: int
) -> tuple[Array, Array]:
    """The losses of peaks and of boxes of one example.

    Args:
      logits: `[*map, num_classes]`; distances: `[*map, 2 * ndim]`; boxes: `[n, 2 * ndim]`, image
        voxels; labels: `[n]`.
    """
    shape = logits.shape[:-1]
    wanted = centres.encode(boxes, labels, shape=shape, stride=stride, num_classes=num_classes)
    given = centres.boxes_of(distances, stride=stride)
    sides = given.shape[-1]
    agreement = jax.vmap(box_ops.generalized_iou)(
        given.reshape(-1, sides), wanted.box.reshape(-1, sides)
    )
    weight = wanted.weight.reshape(-1)
    off = (weight * (1.0 - agreement)).sum() / jnp.maximum(weight.sum(), 1.0)
    return losses.peak_focal(logits, wanted.heat), off


def points_of(boxes: Array) -> Array:
    """The middle of each box `[n, 2 * ndim]` and where its half axes end: `[n, 1 + ndim, ndim]`."""
    low, high = jnp.split(boxes, 2, axis=-1)
    middle, half = (low + high) / 2, (high - low) / 2
    ends = middle[:, None] + half[:, None] * jnp.eye(low.shape[-1])
    return jnp.concatenate([middle[:, None], ends], 1)


def boxes_about(points: Array) -> Array:
    """The boxes of what `points_of` gave, moved: about the ellipse that fills each, which a box of
    its turned corners would be too large for."""
    middle = points[:, 0]
    half = jnp.sqrt(((points[:, 1:] - middle[:, None]) ** 2).sum(1))
    return jnp.concatenate([middle - half, middle + half], -1)


def cut_to_image(boxes: Array, *, shape: tuple[int, ...]) -> Array:
    """Boxes `[n, 2 * ndim]` cut at the border of their image; NaN where less than 30 % is left."""
    low, high = jnp.split(boxes, 2, axis=-1)
    border = jnp.asarray(shape) - 0.5
    cut = jnp.concatenate([jnp.clip(low, -0.5, border), jnp.clip(high, -0.5, border)], -1)
    left = box_ops.box_size(cut) >= _LEAST_SEEN * box_ops.box_size(boxes)
    return jnp.where(left[:, None], cut, jnp.nan)

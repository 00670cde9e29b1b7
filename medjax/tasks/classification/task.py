"""Exam classification: one of several classes for each image."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax.heads import CLASSES, HEADS, ClassHead
from medjax.ops.augment import Augmentation, augment, mixup
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.base import apply_network
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

NO_AUGMENTATION = Augmentation()


def make(
    model: Any,
    *,
    image_shape: tuple[int, ...],
    num_classes: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation = NO_AUGMENTATION,
    label_smoothing: float = 0.0,
    mixup_alpha: float = 0.0,
    class_weights: Sequence[float] | None = None,
    head: ClassHead = HEADS[CLASSES],
    views: int = 1,
    frozen: bool = False,
    keep_statistics: bool = False,
    voxel: tuple[float, ...] = (),
) -> Task:
    """Exam classification with `model`.

    Args:
      model: a network with `apply`, from `[batch, *space, channel]` to the values of `head`.
      image_shape: of one example, `[*space, channel]`.
      num_classes: how many classes, findings or quantities.
      preprocessing: what is done to pixels first.
      augmentation: how images vary in training.
      label_smoothing: share of the target that is spread over all classes.
      mixup_alpha: parameter of mixup; 0 is off.
      class_weights: the weight of each class in the loss.
      head: what the network answers, and its loss; on validation the target is not smoothed, and
        the values are those of the mean answer.
      frozen: the last layer alone is trained, and the network is used as it is at prediction:
        batch statistics stay, no dropout.
      keep_statistics: the same, but all layers are trained.
      views: predictions are the mean over this many random views (1: the image as it is).
      voxel: its size along each axis, so that images turn as they do in the world; empty: alike.
    """
    vary = functools.partial(augment, augmentation=augmentation, voxel=voxel)
    answer_of = jax.vmap(lambda values: head.decode(values, num_classes))
    weight_of = jnp.ones(num_classes) if class_weights is None else jnp.asarray(class_weights)

    def init(key: Key) -> tuple[Params, Stats]:
        # Gray images are repeated for weights of coloured ones, by a mean for each channel.
        channels = max(image_shape[-1], len(preprocessing.mean))
        images = jnp.zeros((1, *image_shape[:-1], channels))
        variables = model.init(key, images, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def inputs(key: Key, images: Array) -> Array:
        unit = preprocessing.unit(images)
        keys = jax.random.split(key, images.shape[0])
        return jax.vmap(vary)(keys, unit)

    def loss(key: Key, params: Params, stats: Stats, batch: Batch):
        augment_key, mixup_key, dropout_key = jax.random.split(key, 3)
        images = inputs(augment_key, batch["image"])
        truth = target = head.encode(batch[head.column], num_classes)
        if mixup_alpha:
            pair, other = (images, target), (jnp.flip(images, 0), jnp.flip(target, 0))
            keys = jax.random.split(mixup_key, images.shape[0])
            images, target = jax.vmap(lambda k, a, b: mixup(k, a, b, alpha=mixup_alpha))(
                keys, pair, other
            )
        scaled = preprocessing.standardise(images)
        values, after = apply_network(
            model, params, stats, scaled, train=not (frozen or keep_statistics), key=dropout_key
        )
        smooth = jax.vmap(lambda t: head.smooth(t, amount=label_smoothing))(target)
        losses_by_example = jax.vmap(head.loss)(values, smooth)
        weight = jnp.ones(len(target)) if class_weights is None else target @ weight_of
        value = jnp.sum(weight * losses_by_example) / jnp.sum(weight)
        rated = jax.vmap(head.rate)(answer_of(values), truth).mean()
        return value, (after, {"loss": value, head.rated: rated})

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        unit = preprocessing.unit(batch["image"])

        def view(number: Array) -> Array:
            # All images in one way, so that no answer depends on which others it is asked with.
            key = jax.random.fold_in(jax.random.key(0), number)
            inputs = (
                unit
                if views == 1
                else jnp.where(number == 0, unit, jax.vmap(lambda x: vary(key, x))(unit))
            )
            values = model.apply(
                {"params": params, "batch_stats": stats},
                preprocessing.standardise(inputs),
                train=False,
            )
            return answer_of(values)

        answer = jax.lax.map(view, jnp.arange(views)).mean(0)
        if head.column not in batch:
            return {head.answer: answer}
        target = head.encode(batch[head.column], num_classes)
        values = jax.vmap(head.values)(answer)
        return {head.answer: answer, "loss": jax.vmap(head.loss)(values, target)}

    return Task(init, loss, predict, ("fc",) if frozen else ())

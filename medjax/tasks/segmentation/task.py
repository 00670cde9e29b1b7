"""Segmentation of patches by cross-entropy and soft Dice.

Ronneberger et al. 2015 (arXiv 1505.04597) and Milletari et al. 2016 (arXiv 1606.04797); both losses
together as in nnU-Net (Isensee et al., Nature Methods 18, 2021).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from medjax import losses
from medjax.config import option
from medjax.data.masks.instances import DEEPEST
from medjax.data.patches import UNKNOWN
from medjax.errors import UserError
from medjax.ops.augment import Augmentation, Sample, augment_together
from medjax.ops.distance import signed_distance
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.base import apply_network, mean_over_views
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

NO_AUGMENTATION = Augmentation()


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; their sum is trained."""

    cross_entropy_weight: float = option(1.0, "of cross-entropy, each voxel alike", least=0)
    focal_weight: float = option(0.0, "of the focal loss (Lin et al. 2017)", least=0)
    dice_weight: float = option(1.0, "of soft Dice, the batch as one image", least=0)
    dice_per_case_weight: float = option(0.0, "of soft Dice, each patch by itself", least=0)
    vnet_dice_weight: float = option(
        0.0, "of Dice with squared sums (V-Net, Milletari et al. 2016)", least=0
    )
    tversky_weight: float = option(
        0.0, "of the Tversky loss, misses weigh 0.7 (Salehi et al. 2017)", least=0
    )
    boundary_weight: float = option(
        0.0, "of the boundary loss beside others (Kervadec et al. 2019); 0.01 is usual", least=0
    )

    def __post_init__(self) -> None:
        if not any(dataclasses.asdict(self).values()):
            raise UserError("`dice_weight`, `cross_entropy_weight`, ...: one must be positive")
        if sum(dataclasses.asdict(self).values()) == self.boundary_weight:
            raise UserError(
                "`boundary_weight`: alone it ends at empty masks; give `dice_weight` or another too"
            )


DICE_AND_CROSS_ENTROPY = LossWeights()


def make(
    model: Any,
    *,
    image_shape: tuple[int, ...],
    num_classes: int,
    preprocessing: Preprocessing,
    augmentation: Augmentation = NO_AUGMENTATION,
    weights: LossWeights = DICE_AND_CROSS_ENTROPY,
    mirror: tuple[int, ...] = (),
    things: bool = False,
    voxel: tuple[float, ...] = (),
) -> Task:
    """Segmentation with `model`.

    It predicts `probability` `[batch, *patch, num_classes]`, the background first; of single things
    their depth, from 0 to 1, behind them.

    Args:
      model: a network with `apply`, from `[batch, *space, channel]` to `[batch, *space,
        num_classes]`, of single things one map more. Axes of a patch that have one voxel are not
        shown to it: a network of slices has patches such as `[224, 224, 1]`.
      image_shape: of a patch, `[*patch, channel]`.
      preprocessing: what is done to pixels first.
      augmentation: how patches vary in training; masks move with them.
      mirror: axes of the patch that predictions are averaged over, both ways.
      things: masks are maps of depth of single things, of one structure.
      voxel: its size along each axis of a patch, in any unit; empty: the same along all.
    """
    thin = tuple(a for a, n in enumerate(image_shape[:-1]) if n == 1)
    shown_voxel = tuple(size for a, size in enumerate(voxel) if a not in thin)

    def init(key: Key) -> tuple[Params, Stats]:
        variables = dict(model.init(key, jnp.zeros((1, *_shown(image_shape, thin))), train=False))
        return variables["params"], variables.get("batch_stats", {})

    def network(
        params: Params, stats: Stats, images: Array, *, train: bool, key: Key | None = None
    ) -> tuple[Any, Stats]:
        inputs = preprocessing.standardise(images)
        return apply_network(model, params, stats, inputs, train=train, key=key)

    def vary(key: Key, image: Array, mask: Array) -> tuple[Array, Array]:
        known = jnp.where(mask == UNKNOWN, 0, mask.astype(jnp.int32) + 1)
        sample = Sample(preprocessing.unit(image), jnp.zeros((0, mask.ndim)), known)
        varied = augment_together(key, sample, augmentation=augmentation, voxel=shown_voxel)
        assert varied.mask is not None
        return (
            varied.image,
            varied.mask - 1,
        )  # -1 is not known: also what was turned in from outside

    def batch_loss(key: Key, params: Params, stats: Stats, batch: Batch):
        augment_key, dropout_key = jax.random.split(key)
        keys = jax.random.split(augment_key, batch["image"].shape[0])
        images = batch["image"].reshape(-1, *_shown(image_shape, thin))
        masks = batch["mask"].reshape(images.shape[:-1])
        images, masks = jax.vmap(vary)(keys, images, masks)
        logits, stats = network(params, stats, images, train=True, key=dropout_key)
        every = logits if isinstance(logits, tuple) else (logits,)
        classes = jnp.sign(masks) if things else masks
        parts = loss_of_maps(
            tuple(x[..., :num_classes] for x in every),
            classes,
            num_classes=num_classes,
            weights=weights,
        )
        if things:
            parts["depth_loss"] = losses.depth_error(every[0][..., -1], masks / DEEPEST, classes)
        value = sum(parts.values(), jnp.zeros(()))
        return value, (stats, {"loss": value, **parts})

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        images = preprocessing.unit(batch["image"].reshape(-1, *_shown(image_shape, thin)))

        def view(axes: tuple[int, ...]) -> Array:
            logits, _ = network(params, stats, jnp.flip(images, axes), train=False)
            shares = [jax.nn.softmax(logits[..., :num_classes])]
            shares += [jax.nn.sigmoid(logits[..., num_classes:])] if things else []
            return jnp.flip(jnp.concatenate(shares, -1), axes)

        probability = mean_over_views(view, mirror)
        return {"probability": probability.reshape(*batch["image"].shape[:-1], -1)}

    return Task(init, batch_loss, predict)


def _shown(image_shape: tuple[int, ...], thin: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the network takes of one patch."""
    return (*(n for a, n in enumerate(image_shape[:-1]) if a not in thin), image_shape[-1])


def loss_of_maps(
    maps: tuple[Array, ...], masks: Array, *, num_classes: int, weights: LossWeights
) -> dict[str, Array]:
    """Each loss, the weighted mean over maps `[batch, *space, num_classes]`, the finest first; one
    of half the sides weighs half as much (Isensee et al. 2021).

    Args:
      masks: `[batch, *space]` of the finest; of coarser ones every second voxel counts.
    """
    steps = [masks.shape[1] // logits.shape[1] for logits in maps]
    total = sum(1 / step for step in steps)
    out: dict[str, Array] = {}
    for logits, step in zip(maps, steps, strict=True):
        coarse = masks[(slice(None), *(slice(None, None, step),) * (masks.ndim - 1))]
        target = jax.nn.one_hot(coarse, num_classes)
        for name, value in loss_parts(logits, target, weights=weights).items():
            out[name] = out.get(name, jnp.zeros(())) + value / step / total
    return out


def _distances(target: Array) -> Array:
    """The signed distance to each class, like the target; 0 where a voxel is not known."""
    by_class = jax.vmap(jax.vmap(signed_distance, in_axes=-1, out_axes=-1))(target)
    return by_class * target.sum(-1, keepdims=True)


def loss_parts(logits: Array, target: Array, *, weights: LossWeights) -> dict[str, Array]:
    """Each loss that counts, weighted; both `[batch, *space, num_classes]`."""
    known = jnp.maximum(target.sum(-1).mean(), 1e-6)  # a share: losses are means over known voxels

    def by_voxel(loss: losses.LossFunction) -> Callable[[], Array]:
        mean = jax.vmap(lambda a, b: losses.mean_over_voxels(loss, a, b))
        return lambda: mean(logits, target).mean() / known

    def overlaps(power: int = 1) -> losses.Overlap:
        return jax.vmap(lambda a, b: losses.mask_overlap(a, b, power=power))(logits, target)

    def of_batch(loss: Callable[[losses.Overlap], Array]) -> Callable[[], Array]:
        return lambda: loss(jax.tree.map(lambda x: x.sum(0), overlaps()))

    every = {
        "cross_entropy": by_voxel(losses.cross_entropy),
        "focal": by_voxel(losses.focal),
        "dice": of_batch(losses.soft_dice),
        "dice_per_case": lambda: jax.vmap(losses.soft_dice)(overlaps()).mean(),
        "vnet_dice": lambda: jax.vmap(losses.soft_dice)(overlaps(2)).mean(),
        "tversky": of_batch(losses.tversky),
        "boundary": lambda: jax.vmap(losses.boundary)(logits, _distances(target)).mean() / known,
    }
    return {
        name.replace("weight", "loss"): weight * every[name.removesuffix("_weight")]()
        for name, weight in dataclasses.asdict(weights).items()
        if weight
    }

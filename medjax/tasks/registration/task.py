"""Registration of pairs: a network that is trained for all of them, or each pair by itself.

Balakrishnan et al., VoxelMorph: a learning framework for deformable medical image registration
(IEEE TMI 38, 2019; arXiv 1809.05231).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.config import option
from medjax.ops import alignment, field, grid, interpolation
from medjax.ops.augment import Augmentation, Sample, augment_together
from medjax.ops.shapes import draw_pair
from medjax.ops.similarity import soft_dice
from medjax.tasks.base import apply_network
from medjax.tasks.registration.method import AlignmentOptions
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Logs, Params, Stats

NO_AUGMENTATION = Augmentation()


@dataclasses.dataclass(frozen=True)
class RegistrationLoss:
    """How much each loss counts beside similarity and smoothness."""

    dice_weight: float = option(
        0.0, "training: of soft Dice of masks (weakly supervised); 0: without masks", least=0
    )
    shapes: int = option(
        0,
        "training: on so many random shapes an image, deformed and painted twice, in place of the "
        "set's images (SynthMorph); 0: on images",
        least=0,
    )
    inverse_weight: float = option(
        0.0,
        "training: of inverse consistency: there and back, of each pair both ways, in voxels",
        least=0,
    )


NO_MASKS = RegistrationLoss()
NO_WEIGHTS: tuple[Params, Stats] = ({"none": np.zeros(1, np.float32)}, {})


@dataclasses.dataclass(frozen=True, eq=False)
class PairRegistration:
    """Registration of pairs `image` `[batch, *space, 2]`, fixed and moving, in 8 bits, with
    `initial` `[batch, ndim, ndim + 1]`.

    It predicts `displacement` `[batch, *half, ndim]`, u on a grid of half of the padded sides, in
    its voxels, and `matrix` `[batch, ndim, ndim + 1]`, M of T(x) = M (x + u(x)).

    Attributes:
      network: as of `models.registration`; None with `method=optimise`.
      space: of the images of the training; others may be larger or smaller.
      spacing: of the voxels, one an axis; empty: not known.
      divisor: sides are padded with black to multiples of it.
      structures: how many values masks have beside the background; weights: of losses of them.
      augmentation: how images vary in training, both of a pair and their masks.
    """

    network: Any
    space: tuple[int, ...]
    spacing: tuple[float, ...]
    options: AlignmentOptions
    divisor: int
    structures: int
    augmentation: Augmentation = NO_AUGMENTATION
    weights: RegistrationLoss = NO_MASKS

    def init(self, key: Key) -> tuple[Params, Stats]:
        """Weights and batch statistics; where each pair is optimised, none that matter."""
        if self.network is None:
            return NO_WEIGHTS
        pair = self.pad(jnp.zeros((1, *self.space, 2)))
        variables = dict(self.network.init(key, pair, train=False))
        return variables["params"], variables.get("batch_stats", {})

    def loss(
        self, key: Key, params: Params, stats: Stats, batch: Batch
    ) -> tuple[Array, tuple[Stats, Logs]]:
        """The mean over pairs; every part of it is logged."""
        pair, masks, matrix = self.unit(batch["image"]), self.pad(batch["mask"]), batch["initial"]
        key, shape_key = jax.random.split(key)
        if self.weights.shapes:
            keys = jax.random.split(shape_key, pair.shape[0])
            draw = functools.partial(draw_pair, space=pair.shape[1:-1], count=self.weights.shapes)
            pair, masks = jax.vmap(draw)(keys)
            matrix = jnp.broadcast_to(jnp.eye(pair.ndim - 2, pair.ndim - 1), matrix.shape)
        elif self.augmentation != NO_AUGMENTATION:
            keys = jax.random.split(key, (pair.shape[0], 2))
            over_both = jax.vmap(jax.vmap(self.vary, (0, -1, -1), -1))
            pair, masks = over_both(keys, pair, masks)
        u, stats = self.estimate(params, stats, pair, matrix, train=True)
        parts = jax.vmap(self.pair_loss)(u, pair, masks, matrix)
        if self.weights.inverse_weight:
            inverse = jax.vmap(invert_affine)(matrix)
            back, _ = self.estimate(params, stats, jnp.flip(pair, -1), inverse, train=True)
            apart = jax.vmap(return_error)(u, back, matrix)
            parts["inverse_loss"] = self.weights.inverse_weight * jnp.square(apart)
        parts = jax.tree.map(jnp.mean, parts)
        value = sum(parts.values(), jnp.zeros(()))
        return value, (stats, {"loss": value, **parts})

    def predict(self, params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        """The affine first, then the network, then steps for each pair alone."""
        pair, initial = self.unit(batch["image"]), batch["initial"]
        fixed, moving = pair[..., 0], pair[..., 1]

        def align(given: tuple[Array, Array, Array, Array]) -> Array:
            *images, spacing = given
            return self.options.fit_affine(*images, spacing=spacing)

        def fit(given: tuple[Array, Array, Array, Array]) -> Array:
            return self.options.fit_field(*given)

        matrix = jax.lax.map(align, (fixed, moving, initial, batch["fixed_voxel_mm"]))
        if self.network is None:
            half = [n // 2 for n in fixed.shape[1:]]
            u = jnp.zeros((pair.shape[0], *half, len(half)))
        else:
            u, _ = self.estimate(params, stats, pair, matrix, train=False)
        u = jax.lax.map(fit, (fixed, moving, matrix, u))
        parts = jax.vmap(self.image_loss)(u, pair, matrix)
        return {"displacement": u, "matrix": matrix, "loss": sum(parts.values())}

    def pad(self, pairs: Array) -> Array:
        """Images or masks `[batch, *space, 2]` with zeros behind them."""
        margin = [(0, -n % self.divisor) for n in pairs.shape[1:-1]]
        return jnp.pad(pairs, [(0, 0), *margin, (0, 0)])

    def unit(self, images: Array) -> Array:
        """The same of 8 bits, from 0 to 1."""
        return self.pad(images).astype(jnp.float32) / 255.0

    def estimate(
        self, params: Params, stats: Stats, pair: Array, matrix: Array, *, train: bool
    ) -> tuple[Array, Stats]:
        """The network's displacements `[batch, *half, ndim]`."""
        warped = jax.vmap(alignment.see_through)(pair[..., 1], matrix)
        inputs = jnp.stack([pair[..., 0], warped], -1)
        return apply_network(self.network, params, stats, inputs, train=train)

    def vary(self, key: Key, image: Array, mask: Array) -> tuple[Array, Array]:
        """An augmented image `[*space]` and its mask."""
        sample = Sample(image[..., None], jnp.zeros((0, image.ndim)), mask.astype(jnp.int32) + 1)
        varied = augment_together(key, sample, augmentation=self.augmentation, voxel=self.spacing)
        assert varied.mask is not None
        return varied.image[..., 0], jnp.maximum(varied.mask - 1, 0).astype(mask.dtype)

    def image_loss(self, u: Array, pair: Array, matrix: Array) -> dict[str, Array]:
        """What the images `[*space, 2]` alone say of a displacement `[*half, ndim]`."""
        full = field.resize(u, space=pair.shape[:-1])
        warped = alignment.see_through(pair[..., 1], matrix, displacement=full)
        return {
            "similarity_loss": self.options.similarity_of(pair[..., 0], warped),
            "smoothness_loss": self.options.smoothness_of(u),
        }

    def pair_loss(self, u: Array, pair: Array, masks: Array, matrix: Array) -> dict[str, Array]:
        """The same, and what masks of both say."""
        shapes = self.weights.shapes
        count = shapes or (self.structures if self.weights.dice_weight else 0)
        if shapes:  # painted otherwise, so that shapes alone can be held against one another
            parts = {"smoothness_loss": self.options.smoothness_of(u)}
        else:
            parts = self.image_loss(u, pair, matrix)
        if count:
            classes = jax.nn.one_hot(masks, count + 1)[..., 1:]
            full = field.resize(u, space=pair.shape[:-1])
            place = grid.transform_points(matrix, field.positions(full))
            moved = interpolation.sample(classes[..., 1, :], place, fill=0.0)
            apart = soft_dice(classes[..., 0, :], moved)
            is_known = (masks > 0).any(tuple(range(masks.ndim - 1))).all()  # of both images
            weight = self.weights.dice_weight or 1.0
            parts["dice_loss"] = weight * jnp.where(is_known, apart, 0.0)
        return parts


def return_error(u: Array, back: Array, matrix: Array) -> Array:
    """How far a place is from where it was, there by M (x + u(x)) and back by M^-1 (y + v(y)), in
    voxels of the fields: `[*half, ndim]` of u and v, which are on the grids of either image."""
    half = alignment.shrink_affine(matrix, factor=2)
    v = interpolation.sample(back, grid.transform_points(half, field.positions(u)), fill=None)
    return u + v @ jnp.linalg.inv(matrix[:, :-1]).T


def make(network: Any, **settings: Any) -> Task:
    """The task of a network; settings as of `PairRegistration`."""
    pairs = PairRegistration(network, **settings)
    return Task(pairs.init, pairs.loss, pairs.predict)


def invert_affine(matrix: Array) -> Array:
    """The inverse of `[ndim, ndim + 1]`."""
    inverse = jnp.linalg.inv(matrix[:, :-1])
    return jnp.concatenate([inverse, -(inverse @ matrix[:, -1])[:, None]], 1)

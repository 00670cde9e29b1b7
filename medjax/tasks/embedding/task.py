"""Networks, pixels and principal components as embeddings."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import UserError
from medjax.models.features import HEAD, apply_body, extract_features, init_body
from medjax.ops.barcode import barcode
from medjax.ops.grid import flatten_small, small_shape
from medjax.ops.neighbours import normalise
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.embedding.objectives import Objective, embed_linear, init_linear
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats


def make(
    network: Any,
    *,
    image_shape: tuple[int, ...],
    preprocessing: Preprocessing,
    answers: str,
    objective: Objective | None,
    size: int = 0,
) -> Task:
    """A network that is trained by an objective, or used as it is.

    Args:
      network: a classifier, whose last layer is replaced.
      answers: `body`: its features; `head`: what a linear layer makes of them, both of length 1;
        `code`: the bits of that, 0 and 1.
      objective: None: there is nothing to train.
      size: of what is not the features.
    """

    def init(key: Key) -> tuple[Params, Stats]:
        body_key, head_key = jax.random.split(key)
        # Gray images are repeated for weights of coloured ones, by a mean for each channel.
        channels = max(image_shape[-1], len(preprocessing.mean))
        images = jnp.zeros((1, *image_shape[:-1], channels))
        params, stats, features = init_body(network, body_key, images)
        behind = objective.init(head_key, features) if objective else None
        if behind is None and answers != "body":
            behind = init_linear(head_key, features, size)
        return {**params, HEAD: behind} if behind else params, stats

    def split_head(params: Params) -> tuple[Params, Params]:
        return {k: v for k, v in params.items() if k != HEAD}, params.get(HEAD, {})

    def loss(key: Key, params: Params, stats: Stats, batch: Batch):
        assert objective is not None
        loss_key, dropout_key = jax.random.split(key)
        below, head = split_head(params)
        after: list[Stats] = []

        def body(images: Array) -> Array:
            features, updated = apply_body(
                network,
                {"params": below, "batch_stats": stats},
                preprocessing.standardise(images),
                train=True,
                key=dropout_key,
            )
            after.append(updated)
            return features

        unit = {**batch, "image": preprocessing.unit(batch["image"])}
        value = objective.losses(loss_key, body, head, unit).mean()
        return value, (after[0], {"loss": value})

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        below, head = split_head(params)
        unit = preprocessing.unit(batch["image"])

        def body(images: Array) -> Array:
            variables = {"params": below, "batch_stats": stats}
            return extract_features(network, variables, preprocessing.standardise(images))

        embedding = body(unit)
        if answers != "body":
            embedding = embed_linear(head, embedding)
        is_code = answers == "code"
        embedding = (
            (embedding > 0).astype(jnp.float32) if is_code else jax.vmap(normalise)(embedding)
        )
        if "label" not in batch or objective is None:
            return {"embedding": embedding}
        # In one way for all, so that the loss of a network is the same whenever it is asked for.
        losses = objective.losses(jax.random.key(0), body, head, {**batch, "image": unit})
        return {"embedding": embedding, "loss": losses}

    return Task(init, loss, predict)


def make_linear(
    image_shape: tuple[int, ...], preprocessing: Preprocessing, *, size: int = 0
) -> Task:
    """Images as rows of pixels, larger sides brought to 32 pixels or 16 voxels; nothing to train.

    Args:
      size: so many components of them, as `fit_components` gives their weights; 0: the pixels.
    """
    count = int(np.prod(small_shape(image_shape)))

    def init(key: Key) -> tuple[Params, Stats]:
        if size:
            return {"mean": jnp.zeros(count), "components": jnp.zeros((count, size))}, {}
        return {"scale": jnp.ones(count)}, {}

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        unit = preprocessing.unit(batch["image"])
        rows = flatten_small(unit)
        if size:
            return {"embedding": (rows - params["mean"]) @ params["components"]}
        return {"embedding": rows * params["scale"]}

    return Task(init, refuse_training, predict)


def refuse_training(key: Key, params: Params, stats: Stats, batch: Batch) -> Any:
    """The loss of what is not trained."""
    raise NotImplementedError("there is nothing to train")


def make_barcode(
    image_shape: tuple[int, ...], preprocessing: Preprocessing, *, between_extrema: bool = False
) -> Task:
    """The bits of the projections of 2-D images, coloured ones as their mean; nothing to train.

    Args:
      between_extrema: as of `barcode`.

    Raises:
      UserError: for volumes.
    """
    if len(image_shape) != 3:
        raise UserError("barcodes are of 2-D images; choose other features for volumes")

    def init(key: Key) -> tuple[Params, Stats]:
        return {"scale": jnp.ones(1)}, {}

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        unit = preprocessing.unit(batch["image"]).mean(-1)
        bits = jax.vmap(functools.partial(barcode, between_extrema=between_extrema))(unit)
        return {"embedding": bits * params["scale"]}

    return Task(init, refuse_training, predict)


def fit_components(rows: np.ndarray, *, size: int) -> Params:
    """The first principal components of `rows` `[n, pixel]`, which are of the gallery alone; where
    it has fewer, the rest are zero, and change no distance."""
    mean = rows.mean(0)
    centred = (rows - mean).astype(float)
    variance, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    known = min(size, int((variance > 1e-9 * max(variance[-1], 1e-12)).sum()))
    components = np.pad(axes[:, ::-1][:, :known], [(0, 0), (0, size - known)])
    return {"mean": mean.astype(np.float32), "components": components.astype(np.float32)}

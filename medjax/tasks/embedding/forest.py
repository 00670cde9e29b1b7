"""Histograms of the leaves of trees over patches, as embeddings (Shah et al. 2016)."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.ops import forest
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.embedding.task import refuse_training
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

TREES, DEPTH = 16, 6
_SIDES = {2: 64, 3: 32}  # of images before they are cut, at most
_MOST_IMAGES, _PATCHES_EACH = 400, 50  # that trees are fitted on


def shrink(image: Array) -> Array:
    """`image` `[*space, channel]` with no side above 64 pixels or 32 voxels."""
    most = _SIDES[image.ndim - 1]
    shape = (*(min(n, most) for n in image.shape[:-1]), image.shape[-1])
    return jax.image.resize(image, shape, "linear")


def make_forest(image_shape: tuple[int, ...], preprocessing: Preprocessing) -> Task:
    """Embeddings by trees that `fit` gives; nothing to train."""
    small = jax.eval_shape(shrink, jax.ShapeDtypeStruct(image_shape, jnp.float32)).shape
    features = int(np.prod([min(forest.PATCH, n) for n in small[:-1]])) * small[-1]
    nodes = 2**DEPTH - 1

    def init(key: Key) -> tuple[Params, Stats]:
        empty = {
            "direction": jnp.zeros((TREES, nodes, features)),
            "threshold": jnp.zeros((TREES, nodes)),
        }
        return empty, {}

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        trees = forest.Forest(params["direction"], params["threshold"])

        def describe(image: Array) -> Array:
            return forest.count_leaves(trees, forest.cut_patches(shrink(image)))

        unit = preprocessing.unit(batch["image"])
        return {"embedding": jax.lax.map(describe, unit, batch_size=4)}

    return Task(init, refuse_training, predict)


def fit(train: Split, preprocessing: Preprocessing, *, seed: int) -> Params:
    """Trees of patches of the gallery alone."""
    draw = np.random.default_rng(seed)
    rows = []
    cut = jax.jit(lambda image: forest.cut_patches(shrink(preprocessing.unit(image[None])[0])))
    for i in draw.permutation(len(train))[:_MOST_IMAGES]:
        patches = np.asarray(cut(train.read(int(i))))
        rows.append(patches[draw.permutation(len(patches))[:_PATCHES_EACH]])
    trees = forest.fit_forest(
        jax.random.key(seed), jnp.asarray(np.concatenate(rows)), trees=TREES, depth=DEPTH
    )
    return {"direction": trees.direction, "threshold": trees.threshold}

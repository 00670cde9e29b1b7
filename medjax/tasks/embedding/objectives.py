"""What embeddings are trained to do: each makes of a network and a batch one loss an example.

Without labels: SimCLR, and masked auto-encoding. With them: cases of a class near one another.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import lecun_normal

from medjax import contrastive
from medjax.ops.augment import Augmentation, augment
from medjax.ops.grid import small_shape
from medjax.typing import Array, Batch, Key, Params, Tree

_HIDDEN = 512  # of the layers behind a network that are thrown away
_PROJECTED = 128
_PATCHES = 8  # that are masked or not, along each axis


class Body(Protocol):
    """A network up to its last layer: images in [0, 1] to features `[n, feature]`."""

    def __call__(self, images: Array) -> Array: ...


class Objective(NamedTuple):
    """What is learned.

    Attributes:
      init: `init(key, features)`: the parameters behind a network of so many features.
      losses: `losses(key, body, params, batch)`: of each example, `[n]`; the batch has images in
        [0, 1], and `label`, which only `learn_classes` looks at.
    """

    init: Callable[[Key, int], Params]
    losses: Callable[[Key, Body, Params, Batch], Array]


def init_dense(key: Key, sizes: tuple[int, ...]) -> Params:
    """Layers of these sizes, one after the other."""
    keys = jax.random.split(key, len(sizes) - 1)
    return {
        f"dense_{i}": {"kernel": lecun_normal()(k, (a, b)), "bias": jnp.zeros(b)}
        for i, (k, a, b) in enumerate(zip(keys, sizes, sizes[1:], strict=False))
    }


def apply_dense(params: Mapping[str, Any], x: Array) -> Array:
    """`[n, feature]`, with ReLU between the layers."""
    for i in range(len(params)):
        layer = params[f"dense_{i}"]
        x = (jax.nn.relu(x) if i else x) @ layer["kernel"] + layer["bias"]
    return x


def _vary(key: Key, images: Array, augmentation: Augmentation) -> Array:
    keys = jax.random.split(key, len(images))
    return jax.vmap(lambda k, x: augment(k, x, augmentation=augmentation))(keys, images)


def learn_views(augmentation: Augmentation, *, heat: float) -> Objective:
    """SimCLR (Chen et al. 2020, arXiv 2002.05709): two random views of an image are alike.

    Args:
      heat: the temperature of the softmax.
    """

    def losses(key: Key, body: Body, params: Params, batch: Batch) -> Array:
        images = batch["image"]
        views = [_vary(k, images, augmentation) for k in jax.random.split(key)]
        # Both views of an image one after the other, so that they stay on its device.
        both = jnp.stack(views, 1).reshape(-1, *images.shape[1:])
        projected = apply_dense(params, body(both)).reshape(len(images), 2, -1)
        return contrastive.two_views(projected, _fingerprint(images), heat=heat)

    return Objective(lambda key, n: init_dense(key, (n, _HIDDEN, _PROJECTED)), losses)


def _fingerprint(images: Array) -> Array:
    """A number for each image, which only equal images share."""
    flat = images.reshape(len(images), -1)
    weight = np.random.default_rng(0).standard_normal(flat.shape[1]).astype(np.float32)
    return jnp.sum(flat * weight, 1)


def fill_masks(
    augmentation: Augmentation, *, mask_ratio: float, image_shape: tuple[int, ...]
) -> Objective:
    """Masked auto-encoding (He et al. 2022, arXiv 2111.06377): hidden patches are filled in.

    The network sees all patches, the hidden ones gray, and two dense layers make of its features
    the image, at no more than 32 pixels or 16 voxels a side: so it can be any network, where the
    paper has a transformer that sees the others alone. The loss is the squared error over what was
    hidden, images standardised by themselves.

    Args:
      mask_ratio: the share of patches that are hidden; image_shape: `[*space, channel]`.
    """
    *space, channels = image_shape
    small = small_shape(image_shape)

    def losses(key: Key, body: Body, params: Params, batch: Batch) -> Array:
        augment_key, mask_key = jax.random.split(key)
        images = _vary(augment_key, batch["image"], augmentation)
        draw = functools.partial(draw_mask, space=tuple(space), mask_ratio=mask_ratio)
        hidden = jax.vmap(draw)(jax.random.split(mask_key, len(images)))[..., None]
        gray = images.mean(range(1, images.ndim), keepdims=True)
        filled = apply_dense(params, body(jnp.where(hidden, gray, images)))
        resize = functools.partial(jax.image.resize, method="linear")
        target = jax.vmap(lambda x: resize(_standardise(x), small))(images)
        weight = jax.vmap(lambda m: resize(m.astype(jnp.float32), (*small[:-1], 1)))(hidden)
        squared = weight * (filled.reshape(target.shape) - target) ** 2
        axes = tuple(range(1, squared.ndim))
        return squared.sum(axes) / (channels * weight.sum(axes) + 1e-6)

    count = int(np.prod(small))
    return Objective(lambda key, n: init_dense(key, (n, _HIDDEN, count)), losses)


def draw_mask(key: Key, *, space: tuple[int, ...], mask_ratio: float) -> Array:
    """Which voxels are hidden, `[*space]`: whole patches, `mask_ratio` of them, one or more."""
    patches = tuple(min(_PATCHES, n) for n in space)
    count = int(np.prod(patches))
    order = jax.random.permutation(key, count)
    hidden = (order < max(round(mask_ratio * count), 1)).reshape(patches)
    for axis, (few, n) in enumerate(zip(patches, space, strict=True)):
        hidden = jnp.take(hidden, np.arange(n) * few // n, axis=axis)
    return hidden


def _standardise(image: Array) -> Array:
    return (image - image.mean()) / jnp.maximum(image.std(), 1e-3)


def learn_classes(
    augmentation: Augmentation,
    *,
    loss: str,
    size: int,
    classes: int,
    binary: bool,
    heat: float,
    margin: float,
    smoothing: float,
) -> Objective:
    """Cases of a class are near one another: metric learning, also of binary codes.

    Args:
      loss: one of `LOSSES`; size: of an embedding; classes: how many.
      binary: embeddings are codes of -1 and 1, with the gradient of tanh (straight-through: Bengio
        et al. 2013, arXiv 1308.3432).
      heat: of `contrastive` and `softmax`; margin: of `triplet` and `proxy`.
      smoothing: of labels, of `softmax`.
    """

    def init(key: Key, features: int) -> Params:
        head_key, proxy_key = jax.random.split(key)
        head = init_linear(head_key, features, size)
        proxies = jax.random.normal(proxy_key, (classes, size))
        return {**head, "proxies": {"kernel": proxies}} if loss in _WITH_PROXIES else head

    def losses(key: Key, body: Body, params: Params, batch: Batch) -> Array:
        values = embed_linear(params, body(_vary(key, batch["image"], augmentation)))
        if binary:
            soft = jnp.tanh(values)
            values = soft + jax.lax.stop_gradient(jnp.where(values > 0, 1.0, -1.0) - soft)
        label = batch["label"]
        if loss == "proxy":
            proxies = params["proxies"]["kernel"]
            value = contrastive.proxy_anchor(values, label, proxies, margin=margin)
            return jnp.broadcast_to(value, label.shape)
        if loss == "softmax":
            proxies = params["proxies"]["kernel"]
            return contrastive.proxy_softmax(values, label, proxies, heat=heat, smoothing=smoothing)
        if loss == "triplet":
            return contrastive.triplet(values, label, margin=margin)
        return contrastive.supervised_contrastive(values, label, heat=heat)

    return Objective(init, losses)


LOSSES = ("contrastive", "softmax", "triplet", "proxy")
_WITH_PROXIES = ("softmax", "proxy")


def init_linear(key: Key, features: int, size: int) -> Params:
    """A last layer as classifiers have it."""
    return {"linear": {"kernel": lecun_normal()(key, (features, size)), "bias": jnp.zeros(size)}}


def embed_linear(params: Tree, features: Array) -> Array:
    """What the last layer makes of features: `[n, size]`."""
    return features @ params["linear"]["kernel"] + params["linear"]["bias"]

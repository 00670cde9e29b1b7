"""Losses of the embeddings of a batch, each of length 1: like cases near one another, others apart.

Other losses are of one example; these compare examples, and so take the batch.
"""

import chex
import jax
import jax.numpy as jnp
import optax

from medjax.ops.neighbours import normalise
from medjax.typing import Array

_NEVER = -1e9  # the logarithm of a share that is none


def pair_cross_entropy(embedding: Array, positive: Array, allowed: Array, *, heat: float) -> Array:
    """How surely each example finds its own among all that it may be compared with: `[n]`, nats.

    The mean over its positives of the cross-entropy of a softmax over cosines divided by `heat`:
    with one positive each Chen et al. 2020, SimCLR (arXiv 2002.05709, equation 1), with all of a
    class Khosla et al. 2020, supervised contrastive learning (arXiv 2004.11362, equation 2). 0 for
    examples without a positive.

    Args:
      embedding: `[n, feature]`, of length 1.
      positive: `[n, n]`, which are to be near; allowed: `[n, n]`, which are compared at all.
      heat: the temperature.
    """
    chex.assert_rank([embedding, positive, allowed], 2)
    wanted = (positive & allowed).astype(jnp.float32)
    cosine = jnp.matmul(embedding, embedding.T, precision="highest") / heat
    log_share = jax.nn.log_softmax(jnp.where(allowed, cosine, _NEVER))
    count = wanted.sum(1)
    return -jnp.sum(wanted * jnp.where(allowed, log_share, 0.0), 1) / jnp.maximum(count, 1.0)


def two_views(views: Array, image_key: Array, *, heat: float) -> Array:
    """The loss of SimCLR for each of n images by two views of it: `[n]`, nats.

    Equal images, as a batch that is filled up has them, are not held against one another.

    Args:
      views: `[n, 2, feature]`; image_key: `[n]`, equal for equal images alone.
      heat: the temperature.
    """
    chex.assert_rank([views, image_key], [3, 1])
    n = len(views)
    embedding = jax.vmap(normalise)(views.reshape(2 * n, -1))
    view = jnp.arange(2 * n)
    partner = view[:, None] == view ^ 1
    keys = jnp.repeat(image_key, 2)
    same = keys[:, None] == keys
    loss = pair_cross_entropy(embedding, partner, ~same | partner, heat=heat)
    return loss.reshape(n, 2).mean(1)


def supervised_contrastive(embedding: Array, label: Array, *, heat: float) -> Array:
    """Khosla et al. 2020: `[n]`, nats; `embedding` `[n, feature]`, `label` `[n]`."""
    chex.assert_rank([embedding, label], [2, 1])
    unit = jax.vmap(normalise)(embedding)
    return pair_cross_entropy(
        unit, label[:, None] == label, ~jnp.eye(len(label), dtype=bool), heat=heat
    )


def triplet(embedding: Array, label: Array, *, margin: float) -> Array:
    """By how much the nearest case of another class is not farther than the farthest of the own by
    `margin`: `[n]`, 0 or more.

    Hermans et al. 2017, batch-hard triplets (arXiv 1703.07737), of Euclidean distances between
    embeddings of length 1. 0 for a class that a batch has alone, or once.
    """
    chex.assert_rank([embedding, label], [2, 1])
    unit = jax.vmap(normalise)(embedding)
    squared = 2.0 - 2.0 * jnp.matmul(unit, unit.T, precision="highest")
    distance = jnp.sqrt(jnp.maximum(squared, 1e-8))
    same = label[:, None] == label
    own = same & ~jnp.eye(len(label), dtype=bool)
    farthest = jnp.max(jnp.where(own, distance, 0.0), 1)
    nearest = jnp.min(jnp.where(same, 4.0, distance), 1)
    defined = own.any(1) & ~same.all(1)
    return jnp.where(defined, jax.nn.relu(farthest - nearest + margin), 0.0)


def proxy_softmax(
    embedding: Array, label: Array, proxies: Array, *, heat: float, smoothing: float
) -> Array:
    """Cross-entropy of each example, whose logits are cosines to proxies, one a class: `[n]`, nats.

    Zhai and Wu 2019, normalised softmax (arXiv 1811.12649, equation 4).

    Args:
      embedding: `[n, feature]`; label: `[n]`; proxies: `[class, feature]`.
      heat: the temperature; smoothing: the share of the label that all classes have.
    """
    chex.assert_rank([embedding, label, proxies], [2, 1, 2])
    unit, centres = jax.vmap(normalise)(embedding), jax.vmap(normalise)(proxies)
    log_share = jax.nn.log_softmax(jnp.matmul(unit, centres.T, precision="highest") / heat)
    target = optax.smooth_labels(jax.nn.one_hot(label, len(proxies)), smoothing)
    return -jnp.sum(target * log_share, 1)


def proxy_anchor(embedding: Array, label: Array, proxies: Array, *, margin: float) -> Array:
    """The loss of proxies, one a class, that cases of their class are to be near: a scalar.

    Kim et al. 2020, proxy anchor loss (arXiv 2003.13911, equation 4), with its sharpness of 32.

    Args:
      embedding: `[n, feature]`; label: `[n]`; proxies: `[class, feature]`.
    """
    chex.assert_rank([embedding, label, proxies], [2, 1, 2])
    unit, centres = jax.vmap(normalise)(embedding), jax.vmap(normalise)(proxies)
    cosine = jnp.matmul(unit, centres.T, precision="highest")  # [n, class]
    own = jax.nn.one_hot(label, len(proxies), dtype=bool)
    pull = jnp.where(own, -_SHARPNESS * (cosine - margin), _NEVER)
    push = jnp.where(own, _NEVER, _SHARPNESS * (cosine + margin))
    present = own.any(0)
    near = jnp.sum(jnp.where(present, _softplus_sum(pull), 0.0)) / jnp.maximum(present.sum(), 1)
    return near + _softplus_sum(push).mean()


_SHARPNESS = 32.0


def _softplus_sum(exponent: Array) -> Array:
    """log(1 + sum over examples of exp(x)), `[class]`."""
    return jax.nn.softplus(jax.nn.logsumexp(exponent, 0))

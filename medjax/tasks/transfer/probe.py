"""Linear probes: logistic regression on features that stay as they are, many as one program."""

import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from medjax.heads import CLASSES, HEADS, ClassHead
from medjax.typing import Array

_STEPS = 200  # of L-BFGS, at most
_TOLERANCE = 1e-4  # of the gradient's largest entry
_LEAST_VARIANCE = 1e-8
DECAYS = tuple(10.0**power for power in range(-4, 3))


class Probe(NamedTuple):
    """The values of a head are `features @ kernel + bias`; of features as they are, not
    standardised.

    Attributes:
      kernel: `[feature, value]`; bias: `[value]`.
    """

    kernel: Array
    bias: Array


def fit_probe(
    features: Array, target: Array, weight: Array, *, decay: Array, head: ClassHead = HEADS[CLASSES]
) -> Probe:
    """Linear regression of what a head asks for, with an L2 penalty, by L-BFGS: of classes
    multinomial logistic regression.

    The features are standardised by the examples with weight alone, so that those without, held
    out, have no part in it. Minimises the mean loss plus `decay / 2` times the squared norm of the
    kernel of standardised features: of classes scikit-learn's `C` is `1 / (decay * n)`.

    Args:
      features: `[n, feature]`.
      target: probabilities `[n, class]`.
      weight: `[n]`, 0 for what is held out.
      decay: a scalar; head: whose values the probe gives.
    """
    chex.assert_rank([features, target, weight, decay], [2, 2, 1, 0])
    share = weight / weight.sum()
    mean = share @ features
    variance = share @ features**2 - mean**2
    scale = jax.lax.rsqrt(jnp.maximum(variance, _LEAST_VARIANCE))

    def unscaled(probe: Probe) -> Probe:
        kernel = probe.kernel * scale[:, None]
        return Probe(kernel, probe.bias - mean @ kernel)

    def loss(probe: Probe) -> Array:
        kernel, bias = unscaled(probe)
        fit = share @ jax.vmap(head.loss)(features @ kernel + bias, target)
        return fit + decay / 2 * (probe.kernel**2).sum()

    count = features.shape[1], head.size(target.shape[1])
    return unscaled(_minimise(loss, Probe(jnp.zeros(count), jnp.zeros(count[1]))))


@functools.partial(jax.jit, static_argnames=("classes", "head"))
def predict_probes(
    probes: Probe, features: Array, *, classes: int, head: ClassHead = HEADS[CLASSES]
) -> Array:
    """What probes `[seed, ...]` answer to features `[n, feature]`: `[seed, n, classes]`."""

    def predict_one(probe: Probe) -> Array:
        values = features @ probe.kernel + probe.bias
        return jax.vmap(lambda v: head.decode(v, classes))(values)

    return jax.vmap(predict_one)(probes)


def _minimise(loss, start: Probe) -> Probe:
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry):
        probe, state, count, _ = carry
        value, grad = value_and_grad(probe, state=state)
        updates, state = optimizer.update(grad, state, probe, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(probe, updates), state, count + 1, grad

    def go_on(carry) -> Array:
        *_, count, grad = carry
        largest = optax.tree.norm(grad, ord=jnp.inf)
        return (count < _STEPS) & (largest > _TOLERANCE)

    first = (start, optimizer.init(start), jnp.int32(0), jax.tree.map(jnp.ones_like, start))
    return jax.lax.while_loop(go_on, step, first)[0]


def choose_probe(
    features: Array,
    target: Array,
    fold: Array,
    *,
    folds: int,
    decays: Array,
    head: ClassHead = HEADS[CLASSES],
) -> tuple[Probe, Array]:
    """The probe of the decay that is best in cross-validation, and that decay.

    Every fold's probe standardises by, and learns from, the other folds alone; the decay with the
    least mean loss of what was held out is then fitted to all.

    Args:
      features: `[n, feature]`; target: `[n, class]`.
      fold: of each example, `[n]`, 0 to `folds` - 1.
      decays: `[d]`.
    """
    chex.assert_rank([features, target, fold, decays], [2, 2, 1, 1])

    def held_out(number: Array, decay: Array) -> Array:
        inside = fold == number
        probe = fit_probe(features, target, 1.0 - inside, decay=decay, head=head)
        loss = jax.vmap(head.loss)(features @ probe.kernel + probe.bias, target)
        return (inside * loss).sum()

    by_fold = jax.vmap(jax.vmap(held_out, (0, None)), (None, 0))
    losses = by_fold(jnp.arange(folds), decays).sum(1)  # [d]
    best = decays[jnp.argmin(losses)]
    return fit_probe(features, target, jnp.ones(len(features)), decay=best, head=head), best


@functools.partial(jax.jit, static_argnames=("folds", "head"))
def fit_probes(
    features: Array,
    target: Array,
    rows: Array,
    fold: Array,
    *,
    folds: int,
    head: ClassHead = HEADS[CLASSES],
) -> tuple[Probe, Array]:
    """The probe of each seed `[seed, ...]`, and the decay that it has, as one program.

    Args:
      features: of all training images, `[n, feature]`; target: `[n, class]`.
      rows, fold: what each seed trains on, and in which fold it is, `[seed, m]`.
    """
    decays = jnp.array(DECAYS)

    def fit_seed(mine: Array, my_fold: Array) -> tuple[Probe, Array]:
        return choose_probe(
            features[mine], target[mine], my_fold, folds=folds, decays=decays, head=head
        )

    return jax.vmap(fit_seed)(rows, fold)

"""What the last layer of a classifier answers, and what that says of each class.

An image has one of several classes, each of several findings or not, or quantities, numbers.
Grades, classes with an order, may be learnt as classes, as a number, as both, or as a chain of
questions whether they are beyond each grade. Whichever is learnt, the answer is the probability of
each class, so that metrics, tables and bundles are the same.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.losses import LossFunction, cross_entropy, smooth_labels
from medjax.typing import Array

CLASSES, REGRESSION, JOINT, CORN = "classes", "regression", "joint", "corn"
FINDINGS, QUANTITIES = "findings", "quantities"
NOT_OF_CLASSES = (FINDINGS, QUANTITIES)
OF_GRADES = (REGRESSION, JOINT, CORN)
_LEAST = 1e-12  # probability, of which a logarithm is taken


def mark_class(label: Array, num_classes: int) -> Array:
    """Labels `[batch]` as distributions `[batch, num_classes]`."""
    return jax.nn.one_hot(label, num_classes)


def is_likeliest(probability: Array, target: Array) -> Array:
    """Whether the likeliest class is the true one."""
    return probability.argmax() == target.argmax()


class ClassHead(NamedTuple):
    """A last layer; all but `encode` of one example.

    Attributes:
      size: the number of values for so many classes.
      loss: of the values `[size]` and the target `[num_classes]`: a distribution over the classes;
        of findings 1, 0, or NaN where it is not known; of quantities standard deviations from the
        mean of the training, or NaN.
      decode: `decode(values, num_classes)`: the answer: of each class its probability, of
        quantities each in its unit.
      values: the other way: values that mean this answer.
      column: of a batch, that the target comes from.
      encode: `encode(column, num_classes)`: targets `[batch, num_classes]`.
      smooth: `smooth(target, amount=)`: a target with less certainty.
      rate: of an answer and a target: how good it is, as logs show it under the name `rated`.
      answer: what answers are called.
    """

    size: Callable[[int], int]
    loss: LossFunction
    decode: Callable[[Array, int], Array]
    values: Callable[[Array], Array]
    column: str = "label"
    encode: Callable[[Array, int], Array] = mark_class
    smooth: Callable[..., Array] = smooth_labels
    rate: Callable[[Array, Array], Array] = is_likeliest
    rated: str = "accuracy"
    answer: str = "probability"


def soften_findings(target: Array, *, amount: float) -> Array:
    """Findings moved towards one half."""
    return target + amount * (0.5 - target)


def share_right(probability: Array, target: Array) -> Array:
    """The share of known findings that are called right from one half on."""
    return _mean_known((probability >= 0.5) == (target == 1), jnp.isfinite(target))


def _mean_known(values: Array, known: Array) -> Array:
    """The mean of the values that are known; zero where none is."""
    return jnp.where(known, values, 0.0).sum() / jnp.maximum(known.sum(), 1)


def masked_binary_loss(values: Array, target: Array) -> Array:
    """The mean cross-entropy of findings that are known; zero where none is.

    Args:
      values: logits `[num_findings]`; target: 1, 0 or between, and NaN where it is not known.
    """
    chex.assert_equal_shape([values, target])
    known, wide = jnp.isfinite(target), values.astype(jnp.float32)
    truth = jnp.where(known, target, 0.0)
    loss = -(truth * jax.nn.log_sigmoid(wide) + (1 - truth) * jax.nn.log_sigmoid(-wide))
    return _mean_known(loss, known)


def mean_grade(probability: Array) -> Array:
    """The expected grade, from 0 on, of a distribution over grades `[num_classes]`."""
    return probability @ jnp.arange(probability.shape[-1], dtype=jnp.float32)


def grade_error(values: Array, target: Array) -> Array:
    """The squared difference of a grade and the expected grade of a distribution.

    Antony et al. 2016, section III: grades of osteoarthritis as a continuous outcome.

    Args:
      values: `[1]`, from the middle grade on, so that an untrained layer answers with that one.
      target: `[num_classes]`.
    """
    chex.assert_shape(values, (1,))
    return (_grade(values, target.shape[0]) - mean_grade(target)) ** 2


def spread_grade(values: Array, num_classes: int) -> Array:
    """A grade between two as a distribution over both; its mean is the grade, clipped.

    The most probable class is the grade rounded.
    """
    grade = jnp.clip(_grade(values, num_classes), 0, num_classes - 1)
    return jnp.maximum(1.0 - jnp.abs(grade - jnp.arange(num_classes)), 0.0)


def _grade(values: Array, num_classes: int) -> Array:
    return values[0].astype(jnp.float32) + (num_classes - 1) / 2


def grade_values(probability: Array) -> Array:
    """The value `[1]` whose grade is the mean of a distribution."""
    return (mean_grade(probability) - (probability.shape[-1] - 1) / 2)[None]


def rank_consistent_loss(values: Array, target: Array) -> Array:
    """The mean over grades of the cross-entropy whether an example is beyond a grade, asked only of
    those that have reached it.

    Shi, Cao and Raschka, Deep neural networks for rank-consistent ordinal regression based on
    conditional probabilities (Pattern Analysis and Applications 2023), equation 7.

    Args:
      values: logits `[num_classes - 1]` of "beyond grade k, given that grade k is reached".
      target: `[num_classes]`.
    """
    chex.assert_shape(values, (target.shape[0] - 1,))
    wide = values.astype(jnp.float32)
    reached = jnp.cumsum(target[::-1])[::-1]  # the probability of grade k or more
    beyond, stopped = reached[1:], reached[:-1] - reached[1:]
    return -(beyond * jax.nn.log_sigmoid(wide) + stopped * jax.nn.log_sigmoid(-wide)).mean()


def chain_probability(values: Array, num_classes: int) -> Array:
    """What those conditional answers say of each grade `[num_classes]`."""
    chex.assert_shape(values, (num_classes - 1,))
    beyond = jnp.exp(jnp.cumsum(jax.nn.log_sigmoid(values.astype(jnp.float32))))
    ends = jnp.concatenate([jnp.ones(1), beyond, jnp.zeros(1)])
    return ends[:-1] - ends[1:]


def chain_values(probability: Array) -> Array:
    """The conditional logits of a distribution."""
    reached = jnp.cumsum(probability[::-1])[::-1]
    beyond, stopped = reached[1:], probability[:-1]
    return jnp.log(jnp.clip(beyond, _LEAST)) - jnp.log(jnp.clip(stopped, _LEAST))


def joint_loss(values: Array, target: Array) -> Array:
    """Cross-entropy of the classes plus the squared error of the grade, half and half.

    Antony et al. 2017, Automatic detection of knee joints and quantification of knee osteoarthritis
    severity (MLDM), section 3.2.

    Args:
      values: `[num_classes + 1]`, the grade last; target: `[num_classes]`.
    """
    return (cross_entropy(values[:-1], target) + grade_error(values[-1:], target)) / 2


def _logit(probability: Array) -> Array:
    return _logarithm(probability) - _logarithm(1.0 - probability)


def _softmax(values: Array, num_classes: int) -> Array:
    return jax.nn.softmax(values[:num_classes])


def _logarithm(probability: Array) -> Array:
    return jnp.log(jnp.clip(probability, _LEAST))


def _joint_values(probability: Array) -> Array:
    return jnp.concatenate([_logarithm(probability), grade_values(probability)])


HEADS = {
    CLASSES: ClassHead(lambda n: n, cross_entropy, _softmax, _logarithm),
    REGRESSION: ClassHead(lambda n: 1, grade_error, spread_grade, grade_values),
    JOINT: ClassHead(lambda n: n + 1, joint_loss, _softmax, _joint_values),
    CORN: ClassHead(lambda n: n - 1, rank_consistent_loss, chain_probability, chain_values),
    FINDINGS: ClassHead(
        lambda n: n,
        masked_binary_loss,
        lambda values, num_classes: jax.nn.sigmoid(values),
        _logit,
        FINDINGS,
        lambda column, num_classes: column.astype(jnp.float32),
        soften_findings,
        share_right,
    ),
}


NAMES = (*HEADS, QUANTITIES)


@functools.lru_cache(maxsize=64)  # so that what is compiled for a head is found again
def make_quantity_head(scale: tuple[tuple[float, float], ...]) -> ClassHead:
    """The head of quantities: regression by squared error, in standard deviations.

    Args:
      scale: of each quantity its mean and standard deviation in the training.
    """
    mean, deviation = np.asarray(scale, np.float32).T

    def standardise(quantity: Array) -> Array:
        return (quantity.astype(jnp.float32) - mean) / deviation

    def error(answer: Array, target: Array) -> Array:
        return _mean_known(jnp.abs(standardise(answer) - target), jnp.isfinite(target))

    return ClassHead(
        lambda n: n,
        masked_squared_error,
        lambda values, count: values.astype(jnp.float32) * deviation + mean,
        standardise,
        QUANTITIES,
        lambda column, count: standardise(column),
        lambda target, amount: target,
        error,
        "error",
        "quantity",
    )


def masked_squared_error(values: Array, target: Array) -> Array:
    """Half of the mean squared difference over quantities that are known; zero where none is.

    Args:
      values: `[num_quantities]`; target: the same, NaN where it is not known.
    """
    chex.assert_equal_shape([values, target])
    known = jnp.isfinite(target)
    apart = values.astype(jnp.float32) - jnp.where(known, target, 0.0)
    return _mean_known(apart**2, known) / 2


def make_head(name: str, scale: tuple[tuple[float, float], ...] = ()) -> ClassHead:
    """The head of this name; `scale` is that of quantities."""
    return make_quantity_head(scale) if name == QUANTITIES else HEADS[name]


def name_head(info: DatasetInfo, wish: str) -> str:
    """The head for what the images of a set are labelled with; `wish` where these are classes."""
    return FINDINGS if info.findings else QUANTITIES if info.quantities else wish


def check_head(name: str, info: DatasetInfo) -> None:
    """Raises UserError for a set without labels, for a head of something else than what it has, and
    for one of grades where classes have no order."""
    if not info.has_labels:
        raise UserError(
            f"{info.name} has no labels to learn; `medjax pretrain` takes images without"
        )
    fitting = name_head(info, CLASSES)
    if name != fitting and {name, fitting} & set(NOT_OF_CLASSES):
        raise UserError(f"`head={name}`: {info.name} has {fitting}; leave `head` out")
    if name in OF_GRADES and not info.ordered:
        raise UserError(
            f"`head={name}`: the classes of {info.name} have no order; declare it with "
            f"`class_order` (of arrays: `ordered=True`), or give `head={CLASSES}`"
        )

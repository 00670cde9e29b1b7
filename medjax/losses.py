"""Losses of one example; `vmap` over the batch and average with weights."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.errors import UserError, check_own_name, first_line, unknown
from medjax.typing import Array


def smooth_labels(target: Array, *, amount: float) -> Array:
    """Moves `amount` of the probability to the uniform distribution.

    Szegedy et al., Rethinking the Inception Architecture (CVPR 2016), section 7.
    """
    chex.assert_rank(target, 1)
    return (1.0 - amount) * target + amount / target.shape[0]


def cross_entropy(logits: Array, target: Array) -> Array:
    """`-sum_c target_c log softmax(logits)_c`, nats; both `[num_classes]`."""
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, 1)
    return -jnp.sum(target * jax.nn.log_softmax(logits.astype(jnp.float32)))


def focal(logits: Array, target: Array, *, focus: float = 2.0) -> Array:
    """`-sum_c target_c (1 - p_c)^focus log p_c` with `p = softmax(logits)`; both `[num_classes]`.

    Cases that are answered well count less. Lin et al., Focal loss for dense object detection (ICCV
    2017), equation 4, for several classes.
    """
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, 1)
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.sum(target * (1.0 - jnp.exp(log_p)) ** focus * log_p)


def squared_error(heatmap: Array, target: Array) -> Array:
    """Half the sum over voxels of the squared difference, both `[*space]`.

    Payer et al. 2016, equation 2, for one landmark.
    """
    chex.assert_equal_shape([heatmap, target])
    return 0.5 * jnp.sum((heatmap.astype(jnp.float32) - target) ** 2)


def temporal_structure(curve: Array, target: Array, known: Array, *, cyclic: bool = False) -> Array:
    """How much `curve` rises where `target` falls, and falls where it rises; all `[time]`.

    Kong et al. 2016, equation 5: half the mean over known frames of the hinges of both. Of a cycle
    the first frame follows the last known one.
    """
    chex.assert_equal_shape([curve, target, known])
    chex.assert_rank(curve, 1)
    count = jnp.maximum(known.sum(), 1)
    before = jnp.mod(jnp.arange(curve.shape[0]) - 1, count if cyclic else curve.shape[0])
    pair = known & known[before] & (cyclic | (jnp.arange(curve.shape[0]) > 0))
    rise, wanted = curve - curve[before], target - target[before]
    wrong = jnp.where(
        wanted > 0, jnp.maximum(-rise, 0.0), jnp.where(wanted < 0, jnp.maximum(rise, 0.0), 0.0)
    )
    return jnp.sum(jnp.where(pair, wrong, 0.0)) / (2 * count)


def voxel_cross_entropy(logits: Array, target: Array) -> Array:
    """`-sum_x p(x) log softmax(logits)(x)` in nats over voxels, both `[*space]`.

    The target is scaled to a sum of one; where it is zero everywhere the loss is zero.
    """
    chex.assert_equal_shape([logits, target])
    flat = target.reshape(-1)
    share = flat / jnp.maximum(flat.sum(), 1e-12)
    return -jnp.sum(share * jax.nn.log_softmax(logits.astype(jnp.float32).reshape(-1)))


class Overlap(NamedTuple):
    """How much of each class two masks have in common; each `[num_classes]`, in voxels.

    Those of several examples may be added, for a loss of a batch as one image.
    """

    both: Array
    predicted: Array
    reference: Array


def mask_overlap(logits: Array, target: Array, *, power: int = 1) -> Overlap:
    """The overlap of `softmax(logits)` with a reference, both `[*space, num_classes]`.

    Args:
      target: of each voxel a distribution over the classes: one, and else zero. A voxel without any
        is not known and counts nowhere.
      power: of the sums of each mask by itself: 2 as in V-Net (Milletari et al. 2016).
    """
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, {3, 4})
    p = jax.nn.softmax(logits.astype(jnp.float32)) * target.sum(-1, keepdims=True)
    space = tuple(range(p.ndim - 1))
    return Overlap((p * target).sum(space), (p**power).sum(space), (target**power).sum(space))


def soft_dice(overlap: Overlap, *, smooth: float = 1e-5) -> Array:
    """One minus the mean over classes, without the first (the background), of `2 both / (predicted
    + reference)`.

    Milletari et al. 2016, equation 1, with an overlap of power 2; of power 1 the form that is in
    common use. For a loss of each case, the mean of their losses; for one of a batch, the loss of
    the sum of their overlaps, in which a class may be absent from a case.

    Args:
      smooth: added above and below, in voxels; a class that both lack costs nothing.
    """
    return tversky(overlap, false_positive=0.5, false_negative=0.5, smooth=smooth / 2)


def tversky(
    overlap: Overlap,
    *,
    false_positive: float = 0.3,
    false_negative: float = 0.7,
    smooth: float = 1e-5,
) -> Array:
    """Soft Dice whose two errors weigh differently; of one half each it is soft Dice.

    Salehi et al., Tversky loss function for image segmentation (MLMI 2017), equation 3, with
    softmax over any number of classes, the first left out.
    """
    chex.assert_rank(overlap.both, 1)
    wrong = false_positive * (overlap.predicted - overlap.both)
    missing = false_negative * (overlap.reference - overlap.both)
    share = (overlap.both + smooth) / (overlap.both + wrong + missing + smooth)
    return 1.0 - share[1:].mean()


def mean_over_voxels(loss: "LossFunction", logits: Array, target: Array) -> Array:
    """The mean of a loss of classes, such as `cross_entropy` or `focal`, over voxels; both
    `[*space, num_classes]`."""
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, {3, 4})
    flat = (x.reshape(-1, x.shape[-1]) for x in (logits, target))
    return jax.vmap(loss)(*flat).mean()


def depth_error(logits: Array, depth: Array, classes: Array) -> Array:
    """How far maps of depth are off: mean absolute errors inside of things and outside, averaged.

    Args:
      logits: `[...]`, before the sigmoid; depth: `[...]`, from 0 to 1.
      classes: `[...]`, 1 inside of a thing, 0 outside, -1 where it is not known.
    """
    away = jnp.abs(jax.nn.sigmoid(logits) - jnp.maximum(depth, 0.0))

    def mean_over(part: Array) -> Array:
        return (away * part).sum() / jnp.maximum(part.sum(), 1)

    return (mean_over(classes == 1) + mean_over(classes == 0)) / 2


def boundary(logits: Array, distance: Array) -> Array:
    """The mean over voxels and classes, without the first, of the probability times the signed
    distance to the reference's edge; both `[*space, num_classes]`.

    Kervadec et al., Boundary loss for highly unbalanced segmentation (MIDL 2019), equation 5. It is
    added to another loss, since an empty mask is a local optimum of it.

    Args:
      distance: negative inside the reference, positive outside; zero for a class that it lacks.
    """
    chex.assert_equal_shape([logits, distance])
    chex.assert_rank(logits, {3, 4})
    p = jax.nn.softmax(logits.astype(jnp.float32))
    return (p * distance)[..., 1:].mean()


def peak_focal(
    logits: Array, target: Array, *, focus: float = 2.0, tolerance: float = 4.0
) -> Array:
    """The focal loss of a map of peaks, both `[*space, num_classes]`, over the number of peaks.

    Voxels whose target is 1 are to be found; others cost less the nearer they are to one. Law and
    Deng, CornerNet (ECCV 2018), equation 1.
    """
    chex.assert_equal_shape([logits, target])
    chex.assert_rank(logits, {3, 4})
    wide = logits.astype(jnp.float32)
    p, log_p, log_not = jax.nn.sigmoid(wide), jax.nn.log_sigmoid(wide), jax.nn.log_sigmoid(-wide)
    is_peak = target >= 1.0
    hit = (1.0 - p) ** focus * log_p
    miss = (1.0 - target) ** tolerance * p**focus * log_not
    count = jnp.maximum(is_peak.sum(), 1)
    return -jnp.where(is_peak, hit, miss).sum() / count


LossFunction = Callable[[Array, Array], Array]  # of an answer and its target, one example
CLASS_LOSSES: dict[str, LossFunction] = {"cross_entropy": cross_entropy, "focal": focal}
BUILT_IN = frozenset(CLASS_LOSSES)  # what everybody's medjax has


def register_loss(name: str, function: LossFunction) -> None:
    """Makes a loss of one's own known by name to `medjax classify --loss`.

    Args:
      name: an identifier that no loss of medjax has; a loss of yours is replaced.
      function: `function(logits, target)`, both `[num_classes]`, to a number; the target is a
        distribution: smoothed, or mixed, where the options say so.

    Raises:
      UserError: for a name or a function that cannot be.
    """
    check_own_name("loss", name, taken=BUILT_IN)
    if not callable(function):
        raise UserError(f"loss {name!r}: give a function of logits and target")
    CLASS_LOSSES[name] = function


def check_loss(function: LossFunction, *, shape: tuple[int, ...]) -> None:
    """Raises UserError unless a loss of one's own makes one number of an answer and its target,
    both of this shape."""
    name = getattr(function, "__name__", "loss")
    example = jnp.zeros(shape)
    try:
        out = jax.eval_shape(function, example, example)
    except Exception as e:  # whatever a stranger's function says
        raise UserError(
            f"loss {name} does not take an answer and a target, both {shape}: {first_line(e)}"
        ) from None
    if getattr(out, "shape", None) != ():
        raise UserError(
            f"loss {name} gives {getattr(out, 'shape', type(out).__name__)} for an answer and a "
            f"target of {shape}; it must give one number"
        )


def class_loss(name: str) -> LossFunction:
    """The loss called `name`; raises UserError if there is none."""
    if name not in CLASS_LOSSES:
        raise unknown("loss", name, CLASS_LOSSES)
    return CLASS_LOSSES[name]

"""Temporal localisation: which frame of a sequence is the one with this name?

Two kinds of task. `frames`: every name has one frame, as ED and ES of a heart. `planes`: a name has
any number of frames, as a standard plane in a sweep.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax import losses
from medjax.errors import UserError
from medjax.models.recurrent import STREAMED
from medjax.ops import sequence
from medjax.ops.augment import Augmentation, augment
from medjax.ops.preprocess import Preprocessing
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats, Tree

NO_AUGMENTATION = Augmentation()
LOSSES = {"frames": ("time", "curve"), "planes": ("joint", "softmax")}


class FrameStream(NamedTuple):
    """The same answers frame by frame; `make_stream` builds it.

    Attributes:
      begin: `(params, stats, images)` to what is carried; raises UserError where answers would not
        be those of the whole.
      step: `(params, stats, carry, images)` to carry and scores `[batch, name]`.
    """

    begin: Callable[[Params, Stats, Array], Any]
    step: Callable[[Params, Stats, Any, Array], tuple[Any, Array]]


def num_outputs(loss: str, names: int) -> int:
    """How many numbers a frame a network has to give."""
    return {"curve": 1, "time": names, "joint": names, "softmax": names + 1}[loss]


def make(
    model: Any,
    *,
    image_shape: tuple[int, ...],
    preprocessing: Preprocessing,
    loss: str,
    augmentation: Augmentation = NO_AUGMENTATION,
    cyclic: bool = False,
    window: int = 0,
    structure: float = 0.0,
    reverse: bool = False,
    rarity: tuple[float, ...] = (),
    frozen: bool = False,
    trainable: tuple[str, ...] = (),
    smooth: int = 1,
    views: int = 1,
) -> Task:
    """Temporal localisation with `model`.

    A batch has `image` `[batch, time, height, width, channel]`, `length` `[batch]` and, in
    training, `marks` `[batch, time, name]`. It predicts `score` `[batch, time, name]`: the frame
    with the highest is the answer. Of planes these are probabilities; of `time`, logits, whose
    softmax over the frames is one; of `curve`, the curve and what it lacks to 1.

    Args:
      model: a `models.recurrent.FrameNetwork`.
      image_shape: of one sequence, `[time, height, width, channel]`.
      preprocessing: what is done to pixels first.
      augmentation: how a sequence varies in training, all its frames alike.
      loss: `curve`: the squared distance from Kong's curve; `time`: cross-entropy over the frames
        of a sequence; `joint`: a yes or no for each name, from features that all share (Chen et al.
        2015); `softmax`: one of the names, or none, for each frame.
      cyclic: the first frame follows the last; training rolls the cycle at random.
      window: frames of the random part that is trained on; 0: all.
      structure: weight of `losses.temporal_structure` beside `curve`.
      reverse: training turns time round, every second time.
      rarity: of each name, how often it is rarer than not, as the weight of its frames.
      frozen: the encoder is used as it is at prediction.
      trainable: as of `Task`.
      smooth: scores are means over so many frames.
      views: scores are the mean over this many random views (1: the sequence as it is).
    """
    ratio = jnp.asarray(rarity) if rarity else jnp.ones(1)
    cut = functools.partial(_part, cyclic=cyclic, window=window, reverse=reverse)
    value = functools.partial(_value, loss=loss, cyclic=cyclic, structure=structure, ratio=ratio)

    def init(key: Key) -> tuple[Params, Stats]:
        blank = jnp.zeros((1, 2, *image_shape[1:]))
        variables = model.init(key, blank, jnp.array([2]), train=False)
        return variables["params"], variables.get("batch_stats", {})

    def vary(key: Key, frames: Array) -> Array:
        """All frames of one sequence in the same way: as channels of one image."""
        stack = jnp.moveaxis(frames, 0, -2)  # [height, width, time, channel]
        flat = augment(key, stack.reshape(*stack.shape[:2], -1), augmentation=augmentation)
        return jnp.moveaxis(flat.reshape(stack.shape), -2, 0)

    def of_batch(key: Key, params: Params, stats: Stats, batch: Batch):
        chex.assert_rank([batch["image"], batch["marks"], batch["length"]], [5, 3, 1])
        part_key, vary_key, dropout_key = jax.random.split(key, 3)
        count = len(batch["length"])
        frames, marks, length = jax.vmap(cut)(
            jax.random.split(part_key, count), batch["image"], batch["marks"], batch["length"]
        )
        frames = jax.vmap(vary)(jax.random.split(vary_key, count), preprocessing.unit(frames))
        outputs, updated = model.apply(
            {"params": params, "batch_stats": stats},
            preprocessing.standardise(frames),
            length,
            train=not frozen,
            cyclic=cyclic,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        real = jax.vmap(lambda n: sequence.valid(n, size=marks.shape[1]))(length)
        total = jax.vmap(value)(outputs, marks, length, real).mean()
        return total, (updated.get("batch_stats", stats), {"loss": total})

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        images, length = batch["image"], batch["length"]
        chex.assert_rank([images, length], [5, 1])
        unit = preprocessing.unit(images)

        def view(number: Array) -> Array:
            # All sequences in one way, so that no answer depends on which others it is asked with.
            key = jax.random.fold_in(jax.random.key(0), number)
            varied = jax.vmap(lambda x: vary(key, x))(unit) if views > 1 else unit
            outputs = model.apply(
                {"params": params, "batch_stats": stats},
                preprocessing.standardise(jnp.where(number == 0, unit, varied)),
                length,
                train=False,
                cyclic=cyclic,
            )
            return jax.vmap(lambda x: _scores(x, loss=loss))(outputs)

        score = jax.lax.map(view, jnp.arange(views)).mean(0) if views > 1 else view(jnp.array(0))
        if smooth > 1:
            score = jax.vmap(
                lambda x, n: sequence.moving_average(x, n, width=smooth, cyclic=cyclic)
            )(score, length)
        return {"score": score}

    return Task(init, of_batch, predict, trainable)


def make_stream(
    model: Any, *, preprocessing: Preprocessing, loss: str, cyclic: bool = False, smooth: int = 1
) -> FrameStream:
    """Answers frame by frame; the options are those of `make`."""

    def begin(params: Params, stats: Stats, images: Array) -> Any:
        why = not_streamed(model, cyclic=cyclic, smooth=smooth)
        if why:
            raise UserError(
                f"answers cannot be given frame by frame: {why}; predict whole sequences"
            )
        return model.apply(
            {"params": params, "batch_stats": stats}, images.shape[0], images[0], method="begin"
        )

    def step(params: Params, stats: Stats, carry: Tree, images: Array) -> tuple[Any, Array]:
        ready = preprocessing.standardise(preprocessing.unit(images))
        carry, outputs = model.apply(
            {"params": params, "batch_stats": stats}, carry, ready, method="step"
        )
        return carry, _scores(outputs, loss=loss)

    return FrameStream(begin, step)


def not_streamed(model: Any, *, cyclic: bool, smooth: int) -> str:
    """Why answers frame by frame would not be those of the whole; empty where they are."""
    recurrence = getattr(model, "recurrence", "none")
    if recurrence not in STREAMED:
        return f"{recurrence} looks ahead"
    if cyclic:
        return "of a cycle the first frame follows the last"
    return f"scores are means over {smooth} frames" if smooth > 1 else ""


def _scores(outputs: Array, *, loss: str) -> Array:
    """Of one sequence: `[..., outputs]` to `[..., name]`."""
    if loss == "curve":
        return jnp.concatenate([outputs, 1.0 - outputs], -1)
    if loss == "softmax":
        return jax.nn.softmax(outputs)[..., 1:]
    return jax.nn.sigmoid(outputs) if loss == "joint" else outputs


def _value(
    outputs: Array,
    marks: Array,
    length: Array,
    real: Array,
    *,
    loss: str,
    cyclic: bool,
    structure: float,
    ratio: Array,
) -> Array:
    """The loss of one sequence; `marks` `[time, name]`, `real` `[time]`, `ratio` `[name]`."""
    if loss == "curve":
        ed, es = (_only(marks[:, i]) for i in range(2))
        target, known = sequence.volume_curve(ed, es, length, size=len(marks), cyclic=cyclic)
        curve, known = outputs[:, 0], known & real
        square = jnp.where(known, (curve - target) ** 2, 0.0).sum() / jnp.maximum(known.sum(), 1)
        wrong = losses.temporal_structure(curve, target, known, cyclic=cyclic)
        return square + structure * wrong
    if loss == "time":
        masked = jnp.where(real[:, None], outputs, -1e9)
        return jax.vmap(losses.voxel_cross_entropy, (1, 1))(masked, marks * real[:, None]).mean()
    if loss == "joint":
        losses_by_frame = -(
            ratio * marks * jax.nn.log_sigmoid(outputs) + (1 - marks) * jax.nn.log_sigmoid(-outputs)
        ).sum(-1)
    else:
        target = jnp.concatenate([1.0 - marks.max(-1, keepdims=True), marks], -1)
        target = target / target.sum(-1, keepdims=True)
        weight = jnp.concatenate([jnp.ones(1), jnp.broadcast_to(ratio, marks.shape[1:])])
        losses_by_frame = (target @ weight) * jax.vmap(losses.cross_entropy)(outputs, target)
    return (real * losses_by_frame).sum() / jnp.maximum(real.sum(), 1)


def _part(
    key: Key,
    frames: Array,
    marks: Array,
    length: Array,
    *,
    cyclic: bool,
    window: int,
    reverse: bool,
) -> tuple[Array, Array, Array]:
    """A random part of one sequence: frames, marks, and how many are real."""
    start_key, turn_key = jax.random.split(key)
    size = min(window or len(frames), len(frames))
    count = jnp.minimum(length, size)
    if cyclic:
        start = jax.random.randint(start_key, (), 0, length)
        index = sequence.rolled(start, length, size=size)
    else:
        start = jax.random.randint(start_key, (), 0, length - count + 1)
        index = sequence.window(start, length, size=size)
    if reverse:
        back = index[jnp.clip(count - 1 - jnp.arange(size), 0, size - 1)]
        index = jnp.where(jax.random.bernoulli(turn_key), back, index)
    return frames[index], marks[index].astype(jnp.float32), count


def _only(marked: Array) -> Array:
    """The number of the marked frame, the first of several; NaN where none is."""
    return jnp.where(marked.any(), marked.argmax().astype(jnp.float32), jnp.nan)

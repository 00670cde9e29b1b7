"""The trainings of all arms at all sizes: one program, which is compiled once.

What an update is made of stands in the data: the examples of every batch, for each seed. So arms
differ in where their weights begin, sizes in numbers, and neither in what is computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.tasks.transfer.arms import Init, data_keys
from medjax.tasks.transfer.comparing import ALL
from medjax.train import feed, mesh, state, step, supervised
from medjax.train.optim import LayerRate
from medjax.train.options import TrainingOptions
from medjax.train.plan import begin_learners, make_optimizer, plan_learners
from medjax.train.run import Plan
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key

Layers = Mapping[str, LayerRate] | None


def plan_arms(
    task: Task,
    train: Split,
    *,
    options: TrainingOptions,
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    column: str = "label",
    layers: Layers = None,
) -> Plan:
    """The training from fresh weights, without data; `of_arm` has those of the others.

    Args:
      evaluate: metrics on validation, of the weights of all seeds.
      score, higher: which of them chooses the checkpoint.
      column: the target.
      layers: how those are trained that start from weights of another set; None: as all.

    Raises:
      UserError: for a set that a device cannot hold.
    """
    if train.nbytes > supervised.RESIDENT_BYTES:
        raise UserError(
            f"the training images take {train.nbytes / 1e9:.3g} GB, and arms share those that a "
            f"device holds, {supervised.RESIDENT_BYTES / 1e9:g} GB at most: give a smaller "
            "`image_size`"
        )
    devices = mesh.make()
    mesh.check_batch(options.batch, mesh=devices)
    optimizer = make_optimizer(options, layers=layers)
    update = step.make_step(task.loss, optimizer, ema_decay=options.ema_decay)

    def pick(key: Key, data: Batch, step: Array, i: Array) -> Batch:
        mine = jnp.argmax((data["keys"] == jax.random.key_data(key)).all(-1))
        rows = data["order"][mine, step]
        return mesh.split_batch({k: data[k][rows] for k in ("image", column)}, mesh=devices)

    return plan_learners(
        options,
        init=lambda key: state.create(*task.init(key), optimizer),
        advance=step.make_advance(update, pick),
        evaluate=evaluate,
        score=score,
        higher=higher,
        feed=lambda step, count: {},
        batch=options.batch,
        sharding=mesh.replicated(devices),
    )


def of_arm(
    plan: Plan, init: Init, data: Batch, *, options: TrainingOptions, layers: Layers = None
) -> Plan:
    """The same training from other weights, on the examples that `data` names.

    Args:
      layers: how each is trained; None unless the plan has such too, as they are part of the state.
    """
    optimizer = make_optimizer(options, layers=layers)

    def begin(key: Key) -> state.TrainState:
        return state.create(*init(key), optimizer)

    return dataclasses.replace(
        plan, init=begin_learners(options, begin), feed=lambda step, count: data
    )


def load_images(train: Split, *, column: str) -> Batch:
    """All training images and their targets, on every device."""
    return mesh.put(train.batch(range(len(train)), [column]), mesh.replicated(mesh.make()))


def name_examples(label: np.ndarray, size: str, options: TrainingOptions) -> Batch:
    """What a size adds to the images: the `order` of examples, `[seed, step, batch]`, and the
    `keys` that tell the seeds apart; `label` is what sizes count by."""
    which: feed.Index = (
        functools.partial(feed.batch_index, size=len(label), batch=options.batch)
        if size == ALL
        else functools.partial(
            feed.subset_index, label=label, per_class=int(size), batch=options.batch
        )
    )

    @jax.jit
    @jax.vmap
    def order_of(key: Key) -> Array:
        return jax.vmap(functools.partial(which, key))(jnp.arange(options.steps))

    keys = data_keys(options)
    return {"order": order_of(keys), "keys": jax.random.key_data(keys)}

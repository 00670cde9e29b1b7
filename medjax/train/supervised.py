"""Training by one loss: batches of a split, in memory or streamed, to a run's plan."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax.data.dataset import Split
from medjax.train import feed, mesh, state, step
from medjax.train.options import FeedOptions, TrainingOptions
from medjax.train.plan import make_optimizer, plan_learners
from medjax.train.run import Plan
from medjax.train.task import Task
from medjax.typing import Array, Key, Tree

RESIDENT_BYTES = 4 * 10**9  # larger sets are streamed


def plan_supervised(
    task: Task,
    train: Split,
    *,
    columns: Sequence[str],
    options: TrainingOptions,
    feeding: FeedOptions,
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    optimizer: optax.GradientTransformation | None = None,
    by_length: bool = False,
) -> Plan:
    """The training run of a task.

    Args:
      task: what is trained.
      train: what it is trained on; columns: the targets that a batch has beside its image.
      evaluate: metrics on validation, of the weights of all seeds.
      score, higher: which of them chooses the checkpoint.
      optimizer: None: that of the options.
      by_length: the sequences of a batch are about as long as one another, and no update is
        longer than they need.
    """
    optimizer = optimizer or make_optimizer(options, only=task.trainable)
    devices = mesh.make()
    mesh.check_batch(options.batch, mesh=devices)
    draw = functools.partial(feed.batch_index, size=len(train), batch=options.batch)
    update = step.make_step(task.loss, optimizer, ema_decay=options.ema_decay)
    if by_length:
        length = jnp.asarray(train["length"])
        draw = functools.partial(feed.alike_index, length=length, batch=options.batch)
        longest = train.image_shape[0]
        update = shorten(update, sizes=[-(-longest * i // 4) for i in range(1, 5)])

    def init(key: Key) -> state.TrainState:
        return state.create(*task.init(key), optimizer)

    source = Batches(train, columns, draw, options, feeding, devices)
    shapes = jax.eval_shape(jax.vmap(init), jax.vmap(jax.random.key)(np.arange(options.seeds)))
    return plan_learners(
        options,
        init=init,
        advance=step.make_advance(update, source.pick),
        evaluate=evaluate,
        score=score,
        higher=higher,
        feed=source.make_feed(),
        batch=options.batch,
        streamed=source.streamed,
        sharding=mesh.sharded(shapes, mesh=devices)
        if feeding.shard_state
        else mesh.replicated(devices),
    )


@dataclasses.dataclass(frozen=True)
class Batches:
    """Where the batches of a run come from: a set that all devices hold, or one that is read as it
    is needed."""

    train: Split
    columns: Sequence[str]
    draw: feed.Index
    options: TrainingOptions
    feeding: FeedOptions
    devices: jax.sharding.Mesh

    @property
    def streamed(self) -> bool:
        """Whether the set does not lie on the devices."""
        large = self.train.nbytes > RESIDENT_BYTES
        return self.feeding.feed == "stream" or (self.feeding.feed == "auto" and large)

    def pick(self, *args: Any) -> Any:
        """One batch, split over the devices; as of `make_advance`."""
        choose = feed.pick_streamed if self.streamed else feed.pick_resident(self.draw)
        return mesh.split_batch(choose(*args), mesh=self.devices)

    def make_feed(self) -> feed.Feed:
        """What `pick` picks from."""
        if not self.streamed:
            everything = mesh.replicated(self.devices)
            return feed.resident(lambda: mesh.put(self._read(range(len(self.train))), everything))
        # As `make_advance` splits it.
        data_key = jax.random.split(jax.random.key(self.options.seed))[1]
        return feed.stream(
            data_key,
            self._read,
            self.draw,
            part=mesh.my_part(self.options.batch),
            place=lambda x: mesh.put_part(x, mesh.along(1, mesh=self.devices)),
        )

    def _read(self, index: Any) -> dict[str, np.ndarray]:
        return self.train.batch(index, self.columns)


def shorten(update: step.Step, *, sizes: Sequence[int]) -> step.Step:
    """The same update, of no more frames than the longest sequence of a batch needs.

    Args:
      update: as of `step.make_step`. Around it, not inside its gradient, where every branch would
        have to keep what the others need.
      sizes: a program is compiled for each, from few frames to all.
    """

    def update_by_length(key: Key, now: Tree, batch: Mapping[str, Array]) -> Any:
        def update_of_size(size: int) -> Callable[[], Any]:
            cut = {k: v[:, :size] if v.ndim > 1 else v for k, v in batch.items()}
            return lambda: update(key, now, cut)

        fits = jnp.searchsorted(jnp.array(sizes), batch["length"].max())
        return jax.lax.switch(fits, [update_of_size(size) for size in sizes])

    return update_by_length

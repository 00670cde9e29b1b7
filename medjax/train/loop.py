"""The loop: the same for supervised and reinforcement learning, and the one place for its order."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.errors import UserError
from medjax.train.feed import Feed
from medjax.typing import Logs, Tree


class Hook(NamedTuple):
    """Something done between updates.

    Attributes:
      every: it is due at each multiple of this many steps, and at the last.
      call: `call(step, state, logs, count)`; logs are sums over the last `count` updates.
      always: called whenever updates were done, due or not.
    """

    every: int
    call: Callable[[int, Any, Logs, int], None]
    always: bool = False


class Outcome(NamedTuple):
    """The state, the step reached, and the seconds that the updates alone took."""

    state: Tree
    step: int
    seconds: float


def fit(
    advance: Callable[[Any, Any, int], tuple[Tree, Logs]],
    state: Tree,
    feed: Feed,
    *,
    start: int,
    steps: int,
    hooks: Sequence[Hook] = (),
    stop: Callable[[], bool] = lambda: False,
    pace_seconds: float = 1.0,
    longest: int = 10_000,
    choices: int = 1,
    agree: Callable[[int, bool], tuple[int, bool]] = lambda number, stop: (number, stop),
) -> Outcome:
    """Trains from update `start` to `steps`, or until `stop()`.

    In this order: fetch data, advance, check that the loss is finite, call the hooks as listed
    (so list evaluation, logging, checkpoint), ask `stop`. A hook's step is never run past. How
    many updates one call does follows the clock (about `pace_seconds`); results do not depend on
    it.

    Args:
      advance: `advance(state, data, count) -> state, logs`; may donate the state.
      state: any tree.
      feed: `feed(step, count) -> data`.
      longest: no call runs past a multiple of this.
      choices: the learners are of so many settings, of which all but one may fail.
      agree: makes how many updates are next, and whether to stop, the same in all processes.

    Raises:
      UserError: if a loss was not finite, of every choice; the hooks did not see that state.
    """
    step, limit, total = start, 1, 0.0
    while step < steps:
        due = [hook.every - step % hook.every for hook in hooks]
        count, ended = agree(min(limit, longest - step % longest, steps - step, *due), stop())
        if ended:
            break
        began = time.perf_counter()
        state, logs = advance(state, feed(step, count), count)
        logs = jax.device_get(logs)
        seconds = time.perf_counter() - began
        bad = np.reshape(logs["bad_step"], (choices, -1))
        if (bad >= 0).any(1).all():
            first = np.where(bad >= 0, bad, np.iinfo(bad.dtype).max).min(1)  # of each choice
            number = first.max() + 1
            raise UserError(
                f"the loss is not finite at step {number}, before anything was learned: look for a "
                "logarithm or a division in network and loss, and at the range of the pixels"
                if number == 1
                else f"the loss is not finite at step {number}; the last good checkpoint is kept; "
                "lower `learning_rate` or set `clip_norm`, in another `workdir`"
            )
        step, total = step + count, total + seconds
        limit = min(max(1, int(pace_seconds * count / max(seconds, 1e-9))), 2 * count)
        for hook in hooks:
            if hook.always or step % hook.every == 0 or step == steps:
                hook.call(step, state, logs, count)
    return Outcome(state, step, total)

"""A whole training run: compile, resume, train, evaluate, save."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.errors import UserError
from medjax.train import loop, mesh, record
from medjax.train.checkpoint import Checkpoints
from medjax.train.feed import CHUNK, Feed
from medjax.train.step import Advance
from medjax.typing import Key, Tree


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained, and how often things are done.

    Attributes:
      init: `init(keys) -> state`, every leaf with a leading axis of learners; may be compiled.
      advance: as of `make_advance`, already mapped over learners.
      evaluate: `evaluate(state) -> values` on the validation split; what is recorded.
      score: the name in `values` that chooses the best checkpoint.
      higher: whether a higher score is better.
      keys: one a learner.
      feed: where the data come from.
      sharding: of the state, or of whole parts of it; `whole` is that of what all devices hold.
      steps, batch: updates, and examples an update (of one learner).
      unit: what these examples are called.
      choices: so many settings are tried; see `train.several`.
      eval_every, log_every, keep: as their flags.
      streamed: whether the feed gives chunks of `CHUNK` updates.
    """

    init: Callable[[Key], Any]
    advance: Advance
    evaluate: Callable[[Any], Mapping[str, float]]
    score: str
    higher: bool
    keys: Key
    feed: Feed
    sharding: Any
    replicated: Any
    steps: int
    batch: int
    eval_every: int
    log_every: int
    keep: int
    streamed: bool = False
    unit: str = "examples"
    choices: int = 1

    def abstract(self) -> Any:
        """Shapes, dtypes and shardings of the state, without making it."""
        shapes = jax.eval_shape(self.init, self.keys)
        return jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            shapes,
            jax.tree.broadcast(self.sharding, shapes),
        )


def train(
    plan: Plan,
    workdir: Path,
    *,
    stop: Callable[[], bool],
    say: Callable[[str], None],
    compiling: Callable[[], AbstractContextManager] = nullcontext,
) -> None:
    """Trains to the end, or until `stop()`, from the newest checkpoint if there is one.

    The last line of `metrics.jsonl` then has `train`: steps, seconds (of all sittings),
    compile_seconds (of this one, with initialisation) and examples_per_second (of the updates
    alone, all seeds together).

    Args:
      compiling: is held while nothing would be lost if the process ended.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", keep=plan.keep, say=say)
    newest = checkpoints.newest(plan.abstract())
    start, before = (newest[1]["step"], newest[1]["seconds"]) if newest else (0, 0.0)
    if start >= plan.steps:
        checkpoints.close()
        return
    if newest:
        say(f"resuming at step {start}")
    say("compiling (the first time up to a minute or two; kept for the next run)")
    began = time.perf_counter()
    with compiling():
        state = newest[0] if newest else jax.jit(plan.init, out_shardings=plan.sharding)(plan.keys)
        advance = jax.jit(
            plan.advance, donate_argnums=1, out_shardings=(plan.sharding, plan.replicated)
        )
        compiled = advance.lower(plan.keys, state, plan.feed(start, 1), np.int32(1)).compile()
    compile_seconds = time.perf_counter() - began

    file = (
        record.MetricsFile(workdir / "metrics.jsonl", step=start)
        if mesh.is_first()
        else record.NoFile()
    )
    progress = record.Progress(
        file,
        start=start,
        steps=plan.steps,
        every=plan.log_every,
        batch=plan.batch * len(plan.keys),
        unit=plan.unit,
    )

    values: dict[str, float] = {}  # of the newest evaluation

    def save(step: int, state: Tree, score: float) -> None:
        meta = {
            "step": step,
            "seconds": before + time.perf_counter() - began,
            "chosen_by": {
                "metric": plan.score,
                "higher": plan.higher,
                "value": values.get(plan.score),
            },
        }
        checkpoints.save(step, state, score=score, meta=record.plain(meta))

    def evaluate(step: int, state: Tree, logs: Any, count: int) -> None:
        if not values:
            progress.say("evaluating on validation (compiled for the first time)")
        values.update(plan.evaluate(state))
        if not np.isfinite(values.get("loss", 0.0)):
            raise UserError(
                f"the validation loss is not finite at step {step}; the last good "
                "checkpoint is kept; lower `learning_rate`, in another `workdir`"
            )
        progress.add({f"validation_{k}": v for k, v in values.items()})
        shown = "  ".join(
            f"{k} {values[k]:.4f}" for k in dict.fromkeys(("loss", plan.score)) if k in values
        )
        progress.say(f"step {step:>6}/{plan.steps}  validation: {shown}")

    def keep(step: int, state: Tree, logs: Any, count: int) -> None:
        save(step, state, values[plan.score] * (1 if plan.higher else -1))

    try:
        done = loop.fit(
            lambda state, data, count: compiled(plan.keys, state, data, np.int32(count)),
            state,
            plan.feed,
            start=start,
            steps=plan.steps,
            stop=stop,
            agree=mesh.agree,
            longest=CHUNK if plan.streamed else 10_000,
            choices=plan.choices,
            hooks=[
                loop.Hook(plan.eval_every, evaluate),
                loop.Hook(plan.log_every, progress, always=True),
                loop.Hook(plan.eval_every, keep),
            ],
        )
    finally:
        checkpoints.wait()  # what was saved is kept, whatever happens
    if start < done.step < plan.steps:
        save(done.step, done.state, np.nan)
    checkpoints.close()
    examples = (done.step - start) * plan.batch * len(plan.keys)
    file.write(
        done.step,
        {
            "train": {
                "steps": done.step,
                "seconds": before + time.perf_counter() - began,
                "compile_seconds": compile_seconds,
                "examples_per_second": examples / done.seconds if done.seconds else None,
            }
        },
    )
    file.close()

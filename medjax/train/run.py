"""A whole training run: compile, resume, train, evaluate, save."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import UserError
from medjax.progress import alive, clock
from medjax.train import loop, mesh, record, several
from medjax.train.checkpoint import Checkpoints
from medjax.train.feed import CHUNK, Feed
from medjax.train.step import Advance
from medjax.typing import JsonView, Key, Tree

_LONG_SECONDS = 3600.0  # a run that takes longer says so before it starts
_FEW_STEPS = 100  # which no run is timed for


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
      eval_every, log_every, keep: as their flags; patience: evaluations without gain after which
        training ends, 0: none.
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
    patience: int = 0
    streamed: bool = False
    unit: str = "examples"
    choices: int = 1

    @functools.cached_property
    def make_state(self) -> Any:
        """The jitted `init`, one for all who ask for shapes or compile: it is traced but once."""
        return jax.jit(self.init, out_shardings=self.sharding)

    def abstract(self) -> Any:
        """Shapes, dtypes and shardings of the state, without making it."""
        shapes = self.make_state.eval_shape(self.keys)
        return jax.tree.map(
            lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place),
            shapes,
            jax.tree.broadcast(self.sharding, shapes),
        )


def has_stalled(history: Sequence[float], patience: int) -> bool:
    """Whether none of the last `patience` scores is better than the best before them, of which one
    is defined."""
    if not patience or len(history) <= patience:
        return False
    earlier, recent = (
        np.nan_to_num(part, nan=-np.inf) for part in (history[:-patience], history[-patience:])
    )
    return bool(max(recent) <= max(earlier) and max(earlier) > -np.inf)


class _History:
    """The scores of the evaluations of each choice, the larger the better."""

    def __init__(self, plan: Plan, workdir: Path, *, until: int):
        many = plan.choices > 1
        self.names = (
            [several.score_of(plan.score, number) for number in range(plan.choices)]
            if many
            else [plan.score]
        )
        self.patience, self.sign = plan.patience, 1 if plan.higher else -1
        self.scores: dict[str, list[float]] = {name: [] for name in self.names}
        for line in record.read_lines(workdir / "metrics.jsonl"):
            if f"validation_{plan.score}" in line and line["step"] <= until:
                self.add({name: line.get(f"validation_{name}") for name in self.names})

    def add(self, values: Mapping[str, float | None]) -> None:
        for name, scores in self.scores.items():
            value = values[name]
            scores.append(np.nan if value is None else self.sign * value)

    def stalled(self) -> bool:
        """Whether no choice gains any more: one that is slower may still become the best."""
        return all(has_stalled(scores, self.patience) for scores in self.scores.values())


def _tell_if_long(
    plan: Plan, compiled: Any, state: Tree, start: int, say: Callable[[str], None]
) -> None:
    """Says how long the updates will take where that is more than an hour.

    Two updates of a copy are made, of which the second is timed; the run itself is not touched.
    """
    left = plan.steps - start
    if left < _FEW_STEPS or jax.process_count() > 1:  # of several, one alone must not compute
        return
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(_update_copy(plan, compiled, state, start, 1))
        seconds = time.perf_counter() - began
    if seconds * left > _LONG_SECONDS:
        say(
            f"this will take about {clock(seconds * left)} (h:mm:ss) for {left:,} steps, and the "
            "evaluations; fewer steps, smaller images or a smaller network take less"
        )


def stage_updates(plan: Plan, start: int) -> tuple[Any, tuple[Any, ...]]:
    """The jitted function of a number of updates, and what it is lowered with for one."""
    advance = jax.jit(
        plan.advance, donate_argnums=1, out_shardings=(plan.sharding, plan.replicated)
    )
    return advance, (plan.keys, plan.abstract(), plan.feed(start, 1), np.int32(1))


def _compile(plan: Plan, state: Any, start: int) -> tuple[Any, Any]:
    """The state, made where there is none, and the program of its updates; what makes a state is
    compiled beside it, in a thread."""
    with ThreadPoolExecutor(1) as pool:
        if state is None:
            init = plan.make_state.lower(plan.keys)
            made = pool.submit(init.compile, compiler_options=_options_of_one_call())
        advance, arguments = stage_updates(plan, start)
        compiled = advance.lower(*arguments).compile()
    return made.result()(plan.keys) if state is None else state, compiled


def _options_of_one_call() -> dict[str, Any]:
    """For a program that is called once: on a CPU it is compiled in half of the time, to the same
    numbers."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def _update_copy(plan: Plan, compiled: Any, state: Tree, start: int, count: int) -> Any:
    """So many updates of a copy of the state, which is not touched itself."""
    copy = jax.tree.map(jnp.copy, state)
    return compiled(plan.keys, copy, plan.feed(start, count), np.int32(count))


def train(
    plan: Plan,
    workdir: Path,
    *,
    stop: Callable[[], bool],
    say: Callable[[str], None],
    compiling: Callable[[], AbstractContextManager] = nullcontext,
    also: Sequence[Callable[[int, JsonView], None]] = (),
    inspect: Callable[[Any, Callable[[int], Any], float], None] | None = None,
) -> None:
    """Trains to the end, or until `stop()`, from the newest checkpoint if there is one.

    The last line of `metrics.jsonl` then has `train`: steps, seconds (of all sittings),
    compile_seconds (of this one, with initialisation) and examples_per_second (of the updates
    alone, all seeds together).

    Args:
      compiling: is asked for where there are updates to make, and held while nothing would be
        lost if the process ended.
      also: what else takes each line of `metrics.jsonl`, as `(step, values)`.
      inspect: `inspect(compiled, update, compile_seconds)` looks at the program, where `update(n)`
        makes n updates of a copy of the state.
    """
    checkpoints = Checkpoints(workdir / "checkpoints", keep=plan.keep, say=say)
    newest = checkpoints.newest(plan.abstract())
    start, before = (newest[1]["step"], newest[1]["seconds"]) if newest else (0, 0.0)
    history = _History(plan, workdir, until=start)
    if start >= plan.steps or history.stalled():
        say("training has ended before; evaluating its best checkpoint")
        checkpoints.close()
        return
    begins = f"resuming at step {start}\n" if newest else ""
    say(f"{begins}compiling (the first time up to a minute or two; kept for the next run)")
    began = time.perf_counter()
    with compiling(), alive("compiling"):
        state, compiled = _compile(plan, newest[0] if newest else None, start)
    compile_seconds = time.perf_counter() - began
    if inspect:
        inspect(
            compiled, functools.partial(_update_copy, plan, compiled, state, start), compile_seconds
        )
    _tell_if_long(plan, compiled, state, start, say)

    file = (
        record.MetricsFile(workdir / "metrics.jsonl", step=start, also=also)
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
        with alive("evaluating on validation"):
            values.update(plan.evaluate(state))
        if not np.isfinite(values.get("loss", 0.0)):
            raise UserError(
                f"the validation loss is not finite at step {step}; the last good "
                "checkpoint is kept; lower `learning_rate`, in another `workdir`"
            )
        progress.add({f"validation_{k}": v for k, v in values.items()})
        history.add(values)
        shown = "  ".join(
            f"{k} {values[k]:.4f}" for k in dict.fromkeys(("loss", plan.score)) if k in values
        )
        progress.say(f"step {step:>6}/{plan.steps}  validation: {shown}")
        if history.stalled():
            progress.say(f"no gain in {plan.patience} evaluations: training ends here")

    def keep(step: int, state: Tree, logs: Any, count: int) -> None:
        save(step, state, values[plan.score] * (1 if plan.higher else -1))

    try:
        done = loop.fit(
            lambda state, data, count: compiled(plan.keys, state, data, np.int32(count)),
            state,
            plan.feed,
            start=start,
            steps=plan.steps,
            stop=lambda: stop() or history.stalled(),
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
        progress.end()
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
                **({"ended_early": True} if history.stalled() else {}),
            }
        },
    )
    file.close()

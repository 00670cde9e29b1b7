"""Agents that search in the volumes of one set: how they are checked, built, trained and traced."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.config import list_settings
from medjax.data import geometry
from medjax.data.dataset import Dataset, Split
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.folder import check_mirror
from medjax.errors import UserError, unknown
from medjax.models import qnet
from medjax.ops.augment import Augmentation
from medjax.outputs.base import ModelSpec
from medjax.tasks.search import environment as env
from medjax.tasks.search import metrics, run, task
from medjax.tasks.search.predictor import SearchPredictor, by_value
from medjax.tasks.search.report import Searches
from medjax.train import feed, mesh, step
from medjax.train.options import TrainingOptions
from medjax.train.plan import make_optimizer, plan_learners
from medjax.train.run import Plan
from medjax.typing import Array, Json, Key, Tree

_SHARES = {"discount": 1.0, "epsilon": 1.0, "epsilon_last": 1.0, "margin": 0.499}


def check_settings(
    predictor: SearchPredictor, learning: task.Learning, training: TrainingOptions
) -> None:
    """Raises UserError for values that no run can have."""
    for name, value in (
        (leaf.name, leaf.default) for part in (predictor, learning) for leaf in list_settings(part)
    ):
        if name in _SHARES and not 0 <= value <= _SHARES[name]:
            raise UserError(f"`{name}={value}`: must lie between 0 and {_SHARES[name]}")
    size, convolutions = predictor.crop_size, predictor.trunk == "convolutions"
    if size % 2 == 0 or not (convolutions or size % predictor.patch == 0):
        raise UserError(
            f"`crop_size={size}`: must be odd, so that the agent stands in its middle, and divide "
            f"by `patch={predictor.patch}`"
        )
    if convolutions and size < qnet.SMALLEST_CROP:
        raise UserError(
            f"`crop_size={size}`: `trunk=convolutions` needs {qnet.SMALLEST_CROP} or more"
        )
    if predictor.answer == "lowest" and predictor.trail < 2:
        raise UserError("`answer=lowest` is of the places before the last: give `trail=2` or more")
    if predictor.trail < predictor.visits:
        raise UserError(f"`trail={predictor.trail}` is shorter than `visits={predictor.visits}`")
    usable = learning.fill - (predictor.history - 1) - (learning.n_step - 1)
    if learning.fill > learning.replay or usable * learning.agents < training.batch:
        raise UserError(
            f"`fill={learning.fill}` of `agents={learning.agents}` gives "
            f"{max(usable, 0) * learning.agents} steps to draw from, fewer than "
            f"`batch={training.batch}`, or more than `replay={learning.replay}` holds"
        )


def narrow_to(dataset: Dataset, landmarks: tuple[str, ...]) -> Dataset:
    """The set with these landmarks alone; who lacks one does not train.

    Raises:
      UserError: for a landmark that the set lacks, or that no training volume has.
    """
    info = dataset.info
    for name in landmarks:
        if name not in info.landmarks:
            raise unknown(f"landmark of {info.name}", name, info.landmarks)
    column = [info.landmarks.index(name) for name in landmarks]

    def narrow(split: Split) -> Split:
        some = {k: split[k][:, column] for k in ("landmarks", "true_file", "true_mm")}
        return dataclasses.replace(split, targets={**split.targets, **some})

    splits = {name: narrow(split) for name, split in dataset.splits.items()}
    lacking = np.isnan(splits["train"]["landmarks"]).any((1, 2))
    if lacking.all():
        raise UserError(f"{info.name}: no volume of train has all of {','.join(landmarks)}")
    for i in np.flatnonzero(lacking):
        print(
            f"note: {splits['train'].case_id[i]} lacks a landmark, or it lies outside: left out "
            "of train"
        )
    splits["train"] = splits["train"].only(np.flatnonzero(~lacking))
    mirrored = tuple(pair for pair in info.mirrored if set(pair) <= set(landmarks))
    info = dataclasses.replace(info, landmarks=landmarks, mirrored=mirrored, unordered=())
    return dataclasses.replace(dataset, splits=splits, info=info)


class Searcher(NamedTuple):
    """Agents, and what they do in volumes of one shape.

    Attributes:
      names: of the landmarks.
      predictor: their settings, with the voxel size of the set.
      agent: their network and its loss.
      game: scales and rules.
      walk: `(params, key, data, case, places)` to where searches of all seeds end.
      wander: the same at random, without parameters.
      trace: as `walk`, to every place that was visited.
    """

    names: tuple[str, ...]
    predictor: SearchPredictor
    agent: task.SearchTask
    game: task.Game
    walk: Callable[..., task.SearchOutcome]
    wander: Callable[..., task.SearchOutcome]
    trace: Callable[..., tuple[Array, Array]]

    def explore(self, split: Split, data: env.Volumes, walk: Callable, *, count: int) -> Searches:
        """`count` searches of each landmark of every volume."""
        return run.explore(
            walk,
            split,
            data,
            names=self.names,
            count=count,
            seed=self.predictor.seed,
            margin=self.predictor.margin,
        )


def make_searcher(
    predictor: SearchPredictor, spec: ModelSpec, train: Split, *, learning: task.Learning, seed: int
) -> Searcher:
    """Agents for the volumes of a set; raises UserError for settings that do not fit it."""
    voxel_mm = geometry.voxel_mm(train["to_world"])
    predictor = dataclasses.replace(predictor, voxel_mm=voxel_mm, seed=seed)
    learning = dataclasses.replace(learning, variant=predictor.variant, margin=predictor.margin)
    game = predictor.game(spec.image_shape[:-1], learning=learning)
    agent, moves = predictor.make_agent(spec, game), 2 * len(game.rules.crop)

    def wander(key: Key, data: env.Volumes, case: Array, places: Array) -> task.SearchOutcome:
        def move_at_random(key: Key, agents: env.AgentState) -> Array:
            return jax.random.uniform(key, (*agents.case.shape, moves))

        outcome = task.walk(key, move_at_random, data, case, places, game=game)
        return jax.tree.map(lambda x: x[None], outcome)

    return Searcher(
        spec.info.landmarks,
        predictor,
        agent,
        game,
        by_value(task.walk, agent, game),
        jax.jit(wander),
        by_value(task.trace, agent, game),
    )


def plan_search(
    searcher: Searcher,
    train: Split,
    validation: Split,
    *,
    training: TrainingOptions,
    augmentation: Augmentation,
    copies: int,
    info: DatasetInfo,
    validation_starts: int,
    radii_mm: tuple[float, ...],
    score: str,
) -> Plan:
    """The training run, its agents split over the devices.

    Args:
      copies: random versions of each training volume that are searched too.
      info: of the set, which tells what changes places in a mirror image.
      validation_starts: searches of each volume of `validation`, while training.
      radii_mm: of the success rates; score: the metric that chooses the checkpoint.
    """
    game, agent, learning = searcher.game, searcher.agent, searcher.game.learning
    devices = mesh.make()
    mesh.check_batch(learning.agents, mesh=devices, option="agents")
    key = jax.random.key(training.seed)
    if augmentation.flip:
        check_mirror(info)
    mirrored = info.pairs(info.mirrored)
    varied = run.vary(key, train, copies=copies, augmentation=augmentation, mirrored=mirrored)
    data = run.on_device(varied, game=game)
    held = run.on_device(validation, game=game)
    kit: Json = {"game": game, "optimizer": make_optimizer(training)}
    init = functools.partial(run.create, data=data, task=agent, **kit)
    run.check_memory(
        jax.eval_shape(init, jax.random.key(0)).world,
        learners=training.seeds * len(training.choices),
    )
    update = run.make_update(agent, batch=training.batch, ema_decay=training.ema_decay, **kit)

    def evaluate(weights: Tree) -> dict[str, float]:
        walk = functools.partial(searcher.walk, weights[0])
        outcome = searcher.explore(validation, held, walk, count=validation_starts)
        return outcome.judged(metrics.declared(radii_mm), validation)

    return plan_learners(
        training,
        init=init,
        advance=step.make_advance(update, lambda key, data, step, i: data),
        evaluate=evaluate,
        score=score,
        higher=False,
        feed=feed.resident(lambda: mesh.put(data, mesh.replicated(devices))),
        sharding=run.placing(devices),
        unit="agent-steps",
        batch=learning.agents * learning.act_steps * len(searcher.names),
    )


def trace_median(
    searcher: Searcher, params: Tree, data: env.Volumes, outcome: Searches, *, most: int = 12
) -> tuple[int, np.ndarray, np.ndarray]:
    """The volume whose mean error is the median, the ways that agents take in it, and the scale of
    each step."""
    mean = metrics.nan_mean_of_volumes(outcome.error_mm)
    case = int(np.argsort(mean, kind="stable")[len(mean) // 2])  # NaN comes last
    chosen = jnp.int32(case)
    key, places = run.beginnings(
        data,
        chosen,
        count=min(searcher.predictor.starts, most),
        seed=searcher.predictor.seed,
        margin=searcher.predictor.margin,
    )
    ways, level = searcher.trace(params, key, data, chosen, places)
    return case, np.asarray(ways)[0], np.asarray(level)[0]

"""A run of landmark search: what it carries, one update of it, and searches put to the test."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.ops import comb
from medjax.ops.augment import Augmentation, Sample, augment_together
from medjax.ops.intensity import fingerprint
from medjax.rl import replay
from medjax.tasks.search import environment as env
from medjax.tasks.search import report as search_report
from medjax.tasks.search import starts
from medjax.tasks.search import task as search
from medjax.tasks.search.report import Searches
from medjax.train import mesh, state, step
from medjax.typing import Array, Key, Logs


class SearchRun(NamedTuple):
    """All that is carried from update to update."""

    learner: state.TrainState
    target: Any  # parameters of the target network
    world: search.World

    @property
    def step(self) -> Array:
        return self.learner.step


def placing(devices: jax.sharding.Mesh) -> Any:
    """The sharding of a `SearchRun`, a seed axis first: teams over the devices."""
    replicated, teams = mesh.replicated(devices), partial(mesh.along, mesh=devices)
    ring: Any = replay.Ring(teams(2), replicated)  # type: ignore[arg-type]
    return SearchRun(replicated, replicated, search.World(teams(1), ring, teams(2)))  # type: ignore[arg-type]


def create(
    key: Key,
    data: env.Volumes,
    *,
    task: search.SearchTask,
    game: search.Game,
    optimizer: optax.GradientTransformation,
) -> SearchRun:
    """A run before its first update."""
    params_key, world_key = jax.random.split(key)
    params = task.init(params_key)
    return SearchRun(
        state.create(params, {}, optimizer), params, search.populate(world_key, data, game=game)
    )


def make_update(
    task: search.SearchTask,
    *,
    game: search.Game,
    batch: int,
    ema_decay: float,
    optimizer: optax.GradientTransformation,
) -> Any:
    """Act, remember, draw, learn; now and then copy the weights into the target network:
    `update(key, run, data) -> run, logs`."""
    learn = step.make_step(task.loss, optimizer, ema_decay=ema_decay)

    def update(key: Key, run: SearchRun, data: env.Volumes) -> tuple[SearchRun, Logs]:
        act_key, draw_key = jax.random.split(jax.random.fold_in(key, run.step))
        world = search.act(
            act_key,
            lambda agents: task.q(run.learner.params, agents, data),
            run.world,
            data,
            run.step,
            game=game,
        )
        drawn, which = search.draw(draw_key, world, data, game=game, batch=batch)
        learner, logs = learn(key, run.learner, {**drawn, "target": run.target})
        logs = dict(logs)
        world = search.surprised(world, which, logs.pop("surprise"))
        due = learner.step % game.learning.target_every == 0
        target = jax.tree.map(lambda new, old: jnp.where(due, new, old), learner.params, run.target)
        return SearchRun(learner, target, world), logs

    return update


def check_memory(world: search.World, *, learners: int) -> None:
    """Raises UserError if what agents remember does not fit the device."""
    needed = learners * sum(
        int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(world)
    )
    there = mesh.memory_bytes()
    if needed > 0.8 * there:
        length, teams = world.priority.shape
        raise UserError(
            f"`replay={length}` steps of `agents={teams}` need "
            f"{needed / 1e9:.1f} GB, {learners} learner{'s' if learners > 1 else ''} "
            f"at once; the device has {there / 1e9:.1f}: lower one"
        )


def vary(
    key: Key,
    split: Split,
    *,
    copies: int,
    augmentation: Augmentation,
    mirrored: tuple[tuple[int, int], ...] = (),
) -> Split:
    """A split with 8-bit images, and behind it so many random versions of each, points and all.

    A version whose points do not all lie within what was image is left out. Points of the pairs
    `mirrored` change places in a mirror image.
    """

    @jax.jit
    def augment_volume(key: Key, image: Array, points: Array) -> tuple[Array, Array]:
        moved = augment_together(
            key, Sample(image / 255.0, points), augmentation=augmentation, mirrored=mirrored
        )
        return jnp.rint(255.0 * jnp.clip(moved.image, 0.0, 1.0)).astype(jnp.uint8), moved.points

    if not copies:
        return split
    rows, images, points = list(range(len(split))), [], []
    for number in range(copies * len(split)):
        row = number % len(split)
        image, moved = map(
            np.asarray,
            augment_volume(
                jax.random.fold_in(key, number), split.read(row), split["landmarks"][row]
            ),
        )
        low, beyond = split["box"][row]
        if ((moved >= low) & (moved <= beyond - 1)).all():  # NaN does not
            rows.append(row)
            images.append(image)
            points.append(moved)
    every = split.only(rows)
    landmarks = np.concatenate([split["landmarks"], points]) if points else split["landmarks"]
    return dataclasses.replace(
        every,
        targets={**every.targets, "landmarks": landmarks},
        read=lambda i: split.read(i) if i < len(split) else images[i - len(split)],
    )


def on_device(split: Split, *, game: search.Game) -> env.Volumes:
    """The volumes of a split, at all scales of a search."""
    return stored(
        split, spacing=np.asarray(game.levels.spacing).tolist(), room=max(game.rules.crop) // 2
    )


def stored(split: Split, *, spacing: Sequence[int], room: int) -> env.Volumes:
    """The images of a split at scales of so many voxels; see `ops.comb.scales`."""
    if split.image_shape[-1] != 1:
        raise UserError(
            f"search is for images with one channel; these have {split.image_shape[-1]}"
        )
    first, beyond = np.moveaxis(split["box"], 1, 0)
    largest = tuple((beyond - first).max(0).tolist())
    tooth = comb.teeth(largest, spacing=spacing, room=room)
    pixels = np.zeros(
        (len(spacing), len(split), *comb.size_of(largest, spacing=spacing, room=room)),
        split.image_dtype,
    )
    number = np.zeros(len(split), np.uint32)
    for i in range(len(split)):
        pixels[:, i], number[i] = in_scales(
            split.read(i)[..., 0],
            split["box"][i],
            spacing=tuple(spacing),
            largest=largest,
            room=room,
        )
    target = (split["landmarks"] - first[:, None]).astype(np.float32)
    return env.Volumes(
        *jax.device_put((pixels, tooth, np.int32(room), beyond - first, target, number))
    )


@partial(jax.jit, static_argnames=("spacing", "largest", "room"))
def in_scales(
    image: Array, box: Array, *, spacing: tuple[int, ...], largest: tuple[int, ...], room: int
) -> tuple[Array, Array]:
    """What `env.Volumes` holds of an image: its pixels at all scales, and its number."""
    return (
        comb.scales(image, box, spacing=spacing, largest=largest, room=room),
        fingerprint(image, box),
    )


def explore(
    walk: Callable[..., search.SearchOutcome],
    split: Split,
    data: env.Volumes,
    *,
    names: Sequence[str],
    count: int,
    seed: int,
    margin: float,
) -> Searches:
    """Searches of every volume of a split, from the same `count` places whoever searches.

    Args:
      walk: `walk(key, data, case, places) -> Found` with a leading seed axis.
      names: of the landmarks.
      seed: draws the places; `margin` as of `starts.anywhere`.
    """

    def run(number: int) -> Any:
        case = jnp.int32(number)
        key, places = beginnings(data, case, count=count, seed=seed, margin=margin)
        return jax.tree.map(np.asarray, (places, walk(key, data, case, places)))

    begun, ends = jax.tree.map(  # [n, seed, start, landmark, ...], of what was begun without seed
        lambda *x: np.stack(x), *mesh.everywhere(run, len(split))
    )
    order = (0, 3, 1, 2)
    first = np.broadcast_to(begun[:, None], ends.point.shape)
    corner = split["box"][:, :1, None, None]
    return search_report.in_world(
        split,
        names,
        first.transpose(*order, 4) + corner,
        ends.point.transpose(*order, 4) + corner,
        ends.steps.transpose(order),
        ends.status.transpose(order),
    )


def beginnings(
    data: env.Volumes, case: Array, *, count: int, seed: int, margin: float
) -> tuple[Key, Array]:
    """Where searches of a volume begin: a key for what follows, and `[count, landmark, ndim]`.

    They depend on what the volume shows, not on its place among others: so a search of it ends
    alike in a run's report and in an answer for it alone.
    """
    key, place_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), data.number[case]))
    keys = jax.random.split(place_key, (count, data.target.shape[1]))
    anywhere = partial(starts.anywhere, margin=margin)
    return key, jax.vmap(jax.vmap(anywhere, (0, None)), (0, None))(keys, data.shape[case])


def in_voxels(lengths_mm: tuple[float, ...], voxel_mm: float, option: str) -> list[int]:
    """Raises UserError unless all are whole numbers of voxels, the largest first."""
    voxels = [round(length / voxel_mm) for length in lengths_mm]
    if (
        any(
            n < 1 or abs(n * voxel_mm - length) > 0.01 * length
            for n, length in zip(voxels, lengths_mm, strict=True)
        )
        or voxels != sorted(voxels)[::-1]
    ):
        raise UserError(
            f"`{option}={','.join(f'{v:g}' for v in lengths_mm)}`: give whole multiples "
            f"of the voxels of {voxel_mm:g} mm, the largest first"
        )
    return voxels

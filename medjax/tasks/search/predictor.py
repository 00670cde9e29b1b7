"""Images to landmarks, by agents that search."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from medjax.config import derived, option
from medjax.errors import UserError
from medjax.models import qnet
from medjax.ops import comb
from medjax.outputs.base import ModelSpec
from medjax.tasks.search import environment as env
from medjax.tasks.search import run as search_run
from medjax.tasks.search import task as search
from medjax.tasks.search.output import SEARCHED
from medjax.train import step
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats, Tree

NO_LEARNING = search.Learning()


@dataclasses.dataclass(frozen=True)
class SearchPredictor:
    """How landmarks are searched.

    Attributes:
      voxel_mm: the size of a voxel of the images that were trained on.
      starts: searches of each landmark, whose median is the answer; `seed` draws where they begin,
        `margin` as of `starts.anywhere`.
    """

    voxel_mm: float = derived(0.0)
    spacings_mm: tuple[float, ...] = option(
        (),
        "mm between two samples of what an agent sees, coarse to fine; empty: 4, 2 and 1 voxels",
        formerly="scales",
        item=float,
        kept=True,
    )
    strides: tuple[float, ...] = option(
        (), "mm of a move at each scale; empty: as --spacings_mm", item=float, kept=True
    )
    crop_size: int = option(15, "samples along each side of what an agent sees", least=1, kept=True)
    history: int = option(1, "so many crops, of its last places", least=1, kept=True)
    outside: str = option(
        "stay",
        "an agent that would leave the volume stays and pays, or leaves and so declares the "
        "landmark absent",
        choices=("stay", "leave"),
        kept=True,
    )
    limit: int = option(60, "steps after which a team goes to another volume", least=1, kept=True)
    search_limit: int = option(200, "steps after which a search is cut off", least=1, kept=True)
    trail: int = option(20, "last places that tell whether an agent rests...", kept=True)
    visits: int = option(
        4, "...which is when it is on one of them for this many times", least=1, kept=True
    )
    answer: str = option(
        "centre",
        "where it rests: centre of its cycle, or the place of the last four whose largest Q is "
        "lowest",
        choices=("centre", "lowest"),
        kept=True,
    )
    variant: str = option(
        "dueling_double", "of deep Q-learning", choices=search.VARIANTS, kept=True
    )
    trunk: str = option(
        "patches",
        "of the network; convolutions: those of Alansary et al.",
        choices=qnet.TRUNKS,
        kept=True,
    )
    patch: int = option(
        3, "the network's first layer cuts crops into patches of this side", least=1, kept=True
    )
    width: int = option(32, "its features there", least=1, kept=True)
    hidden: int = option(128, "and in its dense layers", least=1, kept=True)
    communicate: bool = option(
        False, "agents in one volume tell each other what they see", kept=True
    )
    starts: int = option(
        100, "searches of each volume and landmark that are reported", least=1, kept=True
    )
    seed: int = derived(0)
    margin: float = option(0.1, "share of each side near which no search begins", kept=True)
    reward: str = option(
        "distance",
        "how much the distance fell, or its square",
        choices=("distance", "squared"),
    )
    clip_reward: float = option(
        1.0, "rewards of `reward=distance` lie within this; 0: anywhere", least=0
    )
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))

    output = SEARCHED

    @property
    def model(self) -> str:
        """The network, in words."""
        return f"{self.variant} Q-network"

    def game(
        self, shape: tuple[int, ...], *, learning: search.Learning = NO_LEARNING
    ) -> search.Game:
        """Scales and rules, in volumes of this shape; raises UserError if they do not fit."""
        if self.crop_size > min(shape):
            raise UserError(
                f"`crop_size={self.crop_size}` is larger than the padded volumes, {shape}"
            )
        spacings_mm = self.spacings_mm or tuple(n * self.voxel_mm for n in (4, 2, 1))
        spacing = search_run.in_voxels(spacings_mm, self.voxel_mm, "spacings_mm")
        if max(spacing) > max(shape):
            raise UserError(
                f"`spacings_mm`: {max(spacing)} voxels between samples, in volumes of "
                f"{shape}: lower them"
            )
        strides = self.strides or spacings_mm
        if len(strides) != len(spacings_mm):
            raise UserError(f"`strides` gives {len(strides)} lengths for {len(spacings_mm)} scales")
        stride = search_run.in_voxels(strides, self.voxel_mm, "strides")
        levels = env.Levels(
            jnp.array(spacing), jnp.array(stride), jnp.array(stride, jnp.float32)
        )  # a stride off is as near as it gets
        rules = env.Rules(
            (self.crop_size,) * len(shape),
            history=self.history,
            reward=self.reward,
            clip=self.clip_reward if self.reward == "distance" else 0.0,
            outside=self.outside,
            limit=self.limit,
            trail=self.trail,
            visits=self.visits,
            answer=self.answer,
        )
        resting = dataclasses.replace(rules, rests=True, limit=self.search_limit)
        return search.Game(levels, rules, resting, learning)

    def make_agent(self, spec: ModelSpec, game: search.Game) -> search.SearchTask:
        """The learner and its network."""
        count = len(spec.info.landmarks)
        model = qnet.QNetwork(
            count,
            2 * len(game.rules.crop),
            trunk=self.trunk,
            patch=self.patch,
            width=self.width,
            hidden=self.hidden,
            num_levels=len(game.levels.step),
            dueling="dueling" in self.variant,
            communicate=self.communicate,
            dtype=jnp.dtype(self.dtype),
        )
        return search.make(model, num_landmarks=count, game=game, preprocessing=spec.preprocessing)

    def make_task(self, spec: ModelSpec) -> Task:
        """The agents; they predict where each search of each landmark ends, in voxels of the
        prepared image: `points` `[batch, start, landmark, ndim]`, NaN where an agent has left."""
        shape = spec.image_shape[:-1]
        game = self.game(shape)
        agent, count = self.make_agent(spec, game), len(spec.info.landmarks)
        spacing, room = tuple(game.levels.spacing.tolist()), max(game.rules.crop) // 2

        def search_image(params: Params, image: Array, box: Array) -> Array:
            pixels, number = search_run.in_scales(
                image[..., 0], box, spacing=spacing, largest=shape, room=room
            )
            volumes = env.Volumes(
                pixels[:, None],
                jnp.asarray(comb.teeth(shape, spacing=spacing, room=room)),
                jnp.int32(room),
                (box[1] - box[0])[None],
                jnp.full((1, count, len(shape)), jnp.nan),
                number[None],
            )
            first = jnp.int32(0)
            key, places = search_run.beginnings(
                volumes, first, count=self.starts, seed=self.seed, margin=self.margin
            )

            def policy(_: Key, agents: env.AgentState) -> Array:
                return agent.q(params, agents, volumes)

            outcome = search.walk(key, policy, volumes, first, places, game=game)
            return outcome.point + box[0]

        def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
            points = jax.lax.map(
                lambda image_and_box: search_image(params, *image_and_box),
                (batch["image"], batch["box"]),
            )
            return {"points": points}

        return Task(lambda key: (agent.init(key), {}), agent.loss, predict)


def by_value(walk: Callable, task: search.SearchTask, game: search.Game) -> Callable[..., Any]:
    """`walk` of all seeds, compiled, by the values that their networks give:
    `(params, key, data, case, places)`."""

    def of_seed(params: Tree, key: Array, data: env.Volumes, case: Array, places: Array):
        return walk(
            key, lambda _, agents: task.q(params, agents, data), data, case, places, game=game
        )

    return jax.jit(step.over_seeds(of_seed, (0, None, None, None, None)))

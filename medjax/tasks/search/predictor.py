"""Images to landmarks, by agents that search."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from medjax.config import derived, option
from medjax.data.source import Split
from medjax.errors import UserError
from medjax.models import qnet
from medjax.ops import comb
from medjax.ops.consensus import Consensus, median
from medjax.outputs.base import ModelSpec, Weights, symbols
from medjax.outputs.landmarks import serve as points
from medjax.outputs.landmarks.serve import LandmarkAnswer
from medjax.tasks.search import environment as env
from medjax.tasks.search import report as search_report
from medjax.tasks.search import run as search_run
from medjax.tasks.search import task as search
from medjax.train import step
from medjax.typing import Array

NO_LEARNING = search.Learning()


@dataclasses.dataclass(frozen=True)
class SearchPredictor:
    """How landmarks are searched; the fields are flags of `experiments.search`.

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
    clip_reward: float = option(1.0, "rewards lie within this; 0: anywhere", least=0)
    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))

    read = staticmethod(points.read)
    from_array = staticmethod(points.from_array)
    draw = staticmethod(points.draw)

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
            clip=self.clip_reward,
            outside=self.outside,
            limit=self.limit,
            trail=self.trail,
            visits=self.visits,
            answer=self.answer,
        )
        resting = dataclasses.replace(rules, rests=True, limit=self.search_limit)
        return search.Game(levels, rules, resting, learning)

    def task(self, trained: ModelSpec, game: search.Game) -> search.SearchTask:
        """The learner and its network."""
        count = len(trained.info.landmarks)
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
        return search.make(
            model, num_landmarks=count, game=game, preprocessing=trained.preprocessing
        )

    def footprint(self, trained: ModelSpec) -> int:
        """About how many numbers an answer takes, for bounds on what strangers wrote."""
        axes = len(trained.image_shape) - 1
        numbers_a_start = (
            self.crop_size**axes * self.history + self.trail * axes + self.width * self.hidden
        )
        volumes = len(self.spacings_mm or "123") * math.prod(trained.image_shape)
        return self.starts * len(trained.info.landmarks) * numbers_a_start + volumes

    def init(self, key: Array, trained: ModelSpec) -> Weights:
        """Weights of one seed, before any training."""
        return self.task(trained, self.game(trained.image_shape[:-1])).init(key), {}

    def function(self, trained: ModelSpec) -> tuple[Callable, dict[str, str]]:
        """`(params, stats, images, box)`, of all seeds, to the points, in voxels of the prepared
        image, and their confidence; and the shapes of its inputs."""
        shape = trained.image_shape[:-1]
        game = self.game(shape)
        task, names = self.task(trained, game), trained.info.landmarks
        spacing, room = tuple(game.levels.spacing.tolist()), max(game.rules.crop) // 2

        def of_image(params: Any, image: Array, box: Array) -> Consensus:
            pixels, number = search_run.in_scales(
                image[..., 0], box, spacing=spacing, largest=shape, room=room
            )
            tooth = jnp.asarray(comb.teeth(shape, spacing=spacing, room=room))
            data = env.Volumes(
                pixels[:, None],
                tooth,
                jnp.int32(room),
                (box[1] - box[0])[None],
                jnp.full((1, len(names), len(shape)), jnp.nan),
                number[None],
            )
            key, places = search_run.beginnings(
                data, jnp.int32(0), count=self.starts, seed=self.seed, margin=self.margin
            )
            searched = jax.lax.map(
                lambda p: (
                    search.walk(
                        key,
                        lambda _, agents: task.q(p, agents, data),
                        data,
                        jnp.int32(0),
                        places,
                        game=game,
                    ).point
                ),
                params,
            )  # [seed, start, landmark, ndim]
            by_landmark = jnp.moveaxis(searched, 2, 0).reshape(len(names), -1, len(shape))
            answer = jax.vmap(median)(by_landmark)
            return answer._replace(points=answer.points + box[0])

        def search_images(params: Any, stats: Any, images: Array, box: Array) -> Consensus:
            return jax.lax.map(
                lambda image_and_box: of_image(params, *image_and_box), (images, box)
            )

        return search_images, {"images": symbols(trained.image_shape), "box": f"b, 2, {len(shape)}"}

    def answers(
        self, trained: ModelSpec, *, batch: int
    ) -> Callable[[Weights, Split], list[LandmarkAnswer]]:
        """The compiled function from weights and images to answers: the median of all searches."""
        game = self.game(trained.image_shape[:-1])
        walk = by_value(search.walk, self.task(trained, game), game)

        def answer(weights: Weights, split: Split) -> list[LandmarkAnswer]:
            outcome = search_run.explore(
                partial(walk, weights[0]),
                split,
                search_run.on_device(split, game=game),
                names=trained.info.landmarks,
                count=self.starts,
                seed=self.seed,
                margin=self.margin,
            )
            return points.answers_of(search_report.consensus(split, outcome), split, split["known"])

        return answer


def by_value(walk: Callable, task: search.SearchTask, game: search.Game) -> Callable[..., Any]:
    """`walk` of all seeds, compiled, by the values that their networks give:
    `(params, key, data, case, places)`."""

    def of_seed(params: Any, key: Array, data: env.Volumes, case: Array, places: Array):
        return walk(
            key, lambda _, agents: task.q(params, agents, data), data, case, places, game=game
        )

    return jax.jit(step.over_seeds(of_seed, (0, None, None, None, None)))

"""Landmark search: an agent sees crops about itself and steps along the axes of a volume.

Ghesu et al., MICCAI 2016 (doi 10.1007/978-3-319-46726-9_27) and TPAMI 41:176-189 (2019); Alansary
et al., Medical Image Analysis 53:156-164 (2019). Positions are voxels of the volume, whole numbers;
so are all lengths. Everything here is of one agent.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array

STATUS = ("running", "arrived", "rested", "left", "timed out")
RUNNING, ARRIVED, RESTED, LEFT, TIMED_OUT = range(len(STATUS))
NOWHERE = -(2**14)  # no agent comes here: what a trail holds before it has been walked


class Levels(NamedTuple):
    """The scales of the search, coarse to fine.

    Attributes:
      spacing: `[level]`, voxels between two samples of a crop.
      step: `[level]`, voxels that one move goes.
      radius: `[level]`, an agent this near to its landmark has arrived.
    """

    spacing: Array
    step: Array
    radius: Array


class Volumes(NamedTuple):
    """Volumes on the device, padded to one shape.

    Attributes:
      pixels: `[level, case, *space]`, each level smoothed and combed for its spacing, so that what
        lies `spacing` apart is stored side by side; see `ops.comb`.
      tooth: `[level, ndim]`, how far apart the teeth of the combs begin.
      room: so much padding lies before and behind each tooth.
      shape: `[case, ndim]`, of the volumes themselves.
      target: `[case, landmark, ndim]`, NaN where absent.
      number: `[case]`, uint32, which draws where searches of it begin.
    """

    pixels: Array
    tooth: Array
    room: Array
    shape: Array
    target: Array
    number: Array


@dataclasses.dataclass(frozen=True)
class Rules:
    """What an episode is.

    Attributes:
      crop: shape of what the agent sees; odd sides, so that it stands in the middle.
      history: so many crops, of where it stood last.
      reward: `distance` (Alansary) or `squared` (Ghesu): by how much that fell, in steps.
      clip: rewards lie within +- this; 0: anywhere.
      outside: an agent that would leave the volume is to `stay`, for a reward of -1, or to `leave`,
        which ends its search.
      limit: an episode is cut off after so many steps.
      rests: a level ends where the agent rests, as in a search; else where it arrives, as in
        training.
      trail: the last so many positions tell whether it rests...
      visits: ...which is when it stands on one of them for this many times.
      answer: the point it rests on: `centre` of its cycle (Ghesu), or the state of the `lowest`
        largest Q among the last four (Alansary).
    """

    crop: tuple[int, ...]
    _: dataclasses.KW_ONLY
    history: int = 4
    reward: str = "distance"
    clip: float = 1.0
    outside: str = "stay"
    limit: int = 200
    rests: bool = False
    trail: int = 20
    visits: int = 4
    answer: str = "lowest"

    def __post_init__(self) -> None:
        if any(n < 1 or n % 2 == 0 for n in self.crop):
            raise ValueError(f"crop {self.crop}: sides must be odd and positive")
        for name, known in (
            ("reward", ("distance", "squared")),
            ("outside", ("stay", "leave")),
            ("answer", ("centre", "lowest")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} {getattr(self, name)!r}: known are {', '.join(known)}")


class AgentState(NamedTuple):
    """Where one agent is.

    Attributes:
      case, landmark, level: what it searches, and at which scale; int32.
      past: `[history, ndim]` its last positions at this level, the newest first.
      trail: `[trail, ndim]` as `past`, further back, NOWHERE before its start.
      value: `[trail]` the largest Q of each.
      time: steps since the episode began.
      status: RUNNING, ARRIVED, RESTED, LEFT or TIMED_OUT.
    """

    case: Array
    landmark: Array
    level: Array
    past: Array
    trail: Array
    value: Array
    time: Array
    status: Array

    @property
    def position(self) -> Array:
        """`[ndim]`."""
        return self.past[..., 0, :]


class TimeStep(NamedTuple):
    """What a step brings.

    `terminated` is the end of the search, beyond which there is nothing; `truncated` merely the
    end of patience, so that a value goes on from there.
    """

    reward: Array
    terminated: Array
    truncated: Array


def actions(ndim: int) -> Array:
    """The moves `[action, ndim]`: forth and back along each axis."""
    forth = jnp.eye(ndim, dtype=jnp.int32)
    return jnp.stack([forth, -forth], 1).reshape(2 * ndim, ndim)


def start(
    position: Array, *, case: Array, landmark: Array, level: Array, rules: Rules
) -> AgentState:
    """The state at the start of an episode at `position` `[ndim]`."""
    chex.assert_rank([position, case, landmark, level], [1, 0, 0, 0])
    past, trail = _stand(position.astype(jnp.int32), rules)
    value = jnp.full(rules.trail, jnp.inf)
    return AgentState(case, landmark, level, past, trail, value, jnp.int32(0), jnp.int32(RUNNING))


def _stand(position: Array, rules: Rules) -> tuple[Array, Array]:
    """Past and trail of an agent that has just come to `position`."""
    trail = jnp.full((rules.trail, len(position)), NOWHERE).at[0].set(position)
    return jnp.tile(position, (rules.history, 1)), trail


def step(
    state: AgentState,
    action: Array,
    value: Array,
    *,
    volumes: Volumes,
    levels: Levels,
    rules: Rules,
) -> tuple[AgentState, TimeStep]:
    """One move; an agent whose search has ended stays as it is, for no reward.

    Args:
      action: which of `actions`.
      value: the largest Q of the state that is left; only the answer `lowest` needs it.
    """
    chex.assert_rank([action, value], 0)
    length, target = levels.step[state.level], volumes.target[state.case, state.landmark]
    wish = state.position + length * actions(len(target))[action]
    inside = ((wish >= 0) & (wish < volumes.shape[state.case])).all()
    place = jnp.where(inside, wish, state.position)
    before, after = _distance(state.position, target), _distance(place, target)
    gain = jnp.where(inside, _gain(before, after, length, rules), -1.0)
    moved = state._replace(
        past=_push(state.past, place),
        trail=_push(state.trail, place),
        time=state.time + 1,
        value=_push(state.value.at[0].set(value), jnp.inf),
    )
    ended = _level_ends(moved, after, levels, rules)
    last = state.level == len(levels.step) - 1
    left = ~inside & (rules.outside == "leave")
    moved = _choose(ended & ~last & ~left, _go_down(moved, rules), moved)
    status = jnp.select(
        [left, ended & last, moved.time >= rules.limit],
        [LEFT, RESTED if rules.rests else ARRIVED, TIMED_OUT],
        RUNNING,
    ).astype(jnp.int32)
    running = state.status == RUNNING
    result = TimeStep(
        jnp.where(running, gain, 0.0),
        running & (left | (ended & last)),
        running & (status == TIMED_OUT),
    )
    return _choose(running, moved._replace(status=status), state), result


def _choose(which: Array, yes: AgentState, no: AgentState) -> AgentState:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), yes, no)


def _push(rows: Array, new: Array | float) -> Array:
    return jnp.roll(rows, 1, 0).at[0].set(new)


def _distance(position: Array, target: Array) -> Array:
    return jnp.linalg.norm(position - target)


def _gain(before: Array, after: Array, length: Array, rules: Rules) -> Array:
    """The reward of a step of this length; none where the landmark is absent."""
    power = 2 if rules.reward == "squared" else 1
    gain = (before**power - after**power) / length**power
    gain = jnp.clip(gain, -rules.clip, rules.clip) if rules.clip else gain
    return jnp.nan_to_num(gain)


def _level_ends(state: AgentState, distance: Array, levels: Levels, rules: Rules) -> Array:
    """Whether the search at this level is over."""
    if not rules.rests:
        return distance <= levels.radius[state.level]
    return (state.trail == state.position).all(1).sum() >= rules.visits


def _go_down(state: AgentState, rules: Rules) -> AgentState:
    """At the next level, on the nearest voxel to where it came to rest or has arrived."""
    point = resting_point(state.trail, state.value, rules=rules) if rules.rests else state.position
    past, trail = _stand(jnp.rint(point).astype(jnp.int32), rules)
    return state._replace(
        past=past, trail=trail, value=jnp.full_like(state.value, jnp.inf), level=state.level + 1
    )


def resting_point(trail: Array, value: Array, *, rules: Rules) -> Array:
    """Where an agent rests, `[ndim]`; `trail` `[n, ndim]` and `value` `[n]`, newest first.

    The centre of a cycle is the mean over all rounds that the trail holds.
    """
    if rules.answer == "lowest":
        return trail[jnp.argmin(value[1:5]) + 1].astype(jnp.float32)  # the newest has none yet
    again = (trail == trail[0]).all(1)
    oldest = jnp.max(jnp.where(again, jnp.arange(len(trail)), 0))
    rounds = jnp.maximum(oldest, 1)
    return jnp.where((jnp.arange(len(trail)) < rounds)[:, None], trail, 0).sum(0) / rounds


def answer(state: AgentState, *, rules: Rules) -> Array:
    """The landmark's place `[ndim]`, by what the agent did: where it rests, else where it stands;
    NaN where it has left the volume: it declares the landmark absent."""
    chex.assert_rank(state.time, 0)
    rest = resting_point(state.trail, state.value, rules=rules)
    place = jnp.where(state.status == RESTED, rest, state.position)
    return jnp.where(state.status == LEFT, jnp.nan, place)


def observe(state: AgentState, *, volumes: Volumes, levels: Levels, rules: Rules) -> Array:
    """What the agent sees: `[*crop, history]`, 0 outside the volume, the newest crop first."""
    return crops(
        state.past, state.case, state.level, volumes=volumes, levels=levels, shape=rules.crop
    )


def crops(
    past: Array,
    case: Array,
    level: Array,
    *,
    volumes: Volumes,
    levels: Levels,
    shape: tuple[int, ...],
) -> Array:
    """Crops about positions `[history, ndim]` of one case at one level: `[*shape, history]`.

    Each is a block of the combed volume; its sides must not exceed `2 room + 1`.
    """
    chex.assert_rank([past, case, level], [2, 0, 0])
    spacing, half = levels.spacing[level], jnp.array(shape) // 2

    def crop_at(position: Array) -> Array:
        first = (position % spacing) * volumes.tooth[level] + position // spacing
        corner = (level, case, *(first + volumes.room - half))
        return jax.lax.dynamic_slice(volumes.pixels, corner, (1, 1, *shape))[0, 0]

    return jnp.moveaxis(jax.vmap(crop_at)(past), 0, -1)

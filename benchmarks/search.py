"""Landmark search: how many agents step a second, and one update of Q-learning against PyTorch.

    python -m benchmarks.search --mode=steps
    python -m benchmarks.search --mode=update --torch_python=/path/to/python

`steps`: agents in random volumes of 96^3, one landmark: the environment alone (a random move and
the crop that follows), with a forward pass of the network that chooses the move, and the whole
loop, which also remembers and learns. Beside them a step as environments in Python do it, one agent
at a time: move, cut the crop from a padded array with NumPy, reward. A row's time is that of one
step of one agent.

`update`: double Q-learning with the network of Alansary et al. 2019, crops and Adam the same on
both sides: three forward passes and a backward one.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, learner
from benchmarks.cases import Job
from benchmarks.common import Row
from benchmarks.race import race
from medjax import app
from medjax.config import option
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.models.qnet import QNetwork
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.search import environment as env
from medjax.tasks.search import run as search_run
from medjax.tasks.search import task as search
from medjax.tasks.search import teams
from medjax.train import optim, step
from medjax.typing import Array, Key

SIDE, CASES = 96, 4
_WORKER = "benchmarks._worker_search"


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    mode: str = option("steps", "steps of agents, or an update", choices=("steps", "update"))
    agents: tuple[int, ...] = option((1, 64, 4096), "steps: so many at once", item=int)
    crop: int = option(0, "side of what an agent sees; 0: 25 for steps, 45 for an update")
    history: int = option(0, "crops of its last places; 0: 1 for steps, 4 for an update")
    batch: int = option(8, "remembered steps an update")
    updates: int = option(1, "update: updates in one repetition")
    repeats: int = option(5, "repetitions, of which the median is reported")
    device: str = option("cpu", "where to run", choices=("cpu", "gpu"))
    torch_python: str = option("", "interpreter that has torch; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.batch, config.updates, config.repeats, *config.agents) < 1:
        raise UserError("--agents, --batch, --updates and --repeats must be at least 1")
    update = config.mode == "update"
    crop, history = config.crop or (45 if update else 25), config.history or (4 if update else 1)
    if crop % 2 == 0 or crop > SIDE:
        raise UserError(f"--crop={crop}: must be odd, and at most {SIDE}")
    title = f"crops {history} x {crop}^3, {config.repeats} repetitions"
    busy = common.busy_cores()
    if update:
        job = Job(f"{crop},{history}", config.batch, "float32", config.device)
        python = config.torch_python or sys.executable
        ours, theirs = (sys.executable, f"{_WORKER}_jax"), (python, f"{_WORKER}_torch")
        workers = {
            "medjax": ours,
            "medjax, built": (*ours, learner.NATIVE),
            "PyTorch eager": theirs,
            "PyTorch torch.compile": (*theirs, "--compile"),
        }
        if config.device != "cpu":
            del workers["medjax, built"]  # these convolutions are a CPU's
        rows, about = race(workers, job, updates=config.updates, repeats=config.repeats)
        title = f"update of Q-learning, batch {config.batch}, {title}"
    else:
        learner.use(config.device)
        rows, about = steps(config, crop, history), learner.about()
        title = f"agents' steps (time of one step of one agent), {title}"
    common.report(
        title, rows, busy=busy, versions=about["versions"], device=about["device"], path=config.json
    )
    if not update:
        for row in rows:
            print(f"{row.side}: {1 / float(np.median(row.seconds)):,.0f} agent-steps/s")


def steps(config: Config, crop: int, history: int) -> list[Row]:
    """The rows of `--mode=steps`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (CASES, SIDE, SIDE, SIDE), dtype=np.uint8)
    target = rng.uniform(20, SIDE - 20, (CASES, 1, 3))
    split = Split(
        {"box": np.tile([[[0] * 3, [SIDE] * 3]], (CASES, 1, 1)), "landmarks": target},
        [""] * CASES,
        [""] * CASES,
        [{}] * CASES,
        lambda i: images[i, ..., None],
        (SIDE, SIDE, SIDE, 1),
        images.dtype,
    )
    runs: dict[str, Callable[[], float]] = {
        "NumPy, one agent at a time": functools.partial(
            one_at_a_time, images, target, crop, history
        )
    }
    compiled: dict[str, float | None] = dict.fromkeys(runs)
    for agents in config.agents:
        count = max(4, 4096 // agents)  # steps of a call, as many as training makes at once
        for name, program, args in programs(split, agents, crop, history, config.batch):
            began = time.perf_counter()
            ready = jax.jit(program).lower(jax.random.key(0), *args, jnp.int32(count)).compile()
            label = f"{name}, {agents} agents"
            compiled[label] = time.perf_counter() - began
            runs[label] = functools.partial(timed, ready, args, count, agents)
    found = common.take_turns(runs, repeats=config.repeats)
    return [Row(name, seconds, compiled[name]) for name, seconds in found.items()]


def timed(program: Callable, args: tuple, count: int, agents: int) -> float:
    """Seconds of one step of one agent."""
    began = time.perf_counter()
    jax.block_until_ready(program(jax.random.key(1), *args, jnp.int32(count)))
    return (time.perf_counter() - began) / (count * agents)


def programs(split: Split, agents: int, crop: int, history: int, batch: int):
    """Name, function `(key, ..., count)` and its arguments: of each way to step."""
    one = env.Levels(*(jnp.array([1], kind) for kind in (jnp.int32, jnp.int32, jnp.float32)))
    rules = env.Rules((crop,) * 3, history=history)
    learning = search.Learning(agents=agents, replay=40, fill=max(10, 2 * batch // agents))
    learning = dataclasses.replace(learning, replay=max(40, learning.fill))
    game = search.Game(one, rules, dataclasses.replace(rules, rests=True), learning)
    data = search_run.on_device(split, game=game)
    model = QNetwork(1, 6, patch=5 if crop % 5 == 0 else 3)
    task = search.make(
        model, num_landmarks=1, game=game, preprocessing=Preprocessing(0.0, 255.0, (0.5,), (0.3,))
    )
    optimizer = optim.make("adamw", learning_rate=1e-3, steps=10**6)
    run = jax.jit(
        functools.partial(search_run.create, data=data, task=task, game=game, optimizer=optimizer)
    )(jax.random.key(0))
    see = teams.for_every_agent(env.observe, volumes=data, levels=one, rules=rules)

    def move(key: Key, agents: env.AgentState, action: Array) -> env.AgentState:
        return teams.move(key, agents, action, **game.moves(data))[0]

    def alone(key: Key, agents: env.AgentState, count: Array) -> Any:
        def body(i: Array, carry: tuple[env.AgentState, Array]) -> tuple[env.AgentState, Array]:
            agents, seen = carry
            key_i = jax.random.fold_in(key, i)
            action = jax.random.randint(key_i, agents.case.shape, 0, 6) + seen.max() // 256
            agents = move(key_i, agents, action)
            return agents, see(agents)

        return jax.lax.fori_loop(0, count, body, (agents, see(agents)))

    def forward(key: Key, params: Any, agents: env.AgentState, count: Array) -> env.AgentState:
        return jax.lax.fori_loop(
            0,
            count,
            lambda i, a: move(jax.random.fold_in(key, i), a, task.q(params, a, data).argmax(-1)),
            agents,
        )

    advance = step.make_advance(
        search_run.make_update(task, game=game, batch=batch, ema_decay=0.0, optimizer=optimizer),
        lambda key, data, step, i: data,
    )
    return [
        ("environment alone", alone, (run.world.agents,)),
        ("with a forward pass", forward, (run.learner.params, run.world.agents)),
        (f"with learning, batch {batch}", advance, (run, data)),
    ]


def one_at_a_time(images: np.ndarray, target: np.ndarray, crop: int, history: int) -> float:
    """Seconds of one step, as environments in Python do it."""
    rng, half, count = np.random.default_rng(1), crop // 2, 200
    padded = np.pad(images[0], half)
    place, seen = np.array([SIDE // 2] * 3), [np.zeros((crop,) * 3, np.uint8)] * history
    moves = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    before = float(np.linalg.norm(place - target[0, 0]))
    began = time.perf_counter()
    for action in rng.integers(0, 6, count):
        wish = place + moves[action]
        place = wish if ((wish >= 0) & (wish < SIDE)).all() else place
        x, y, z = place
        seen = [padded[x : x + crop, y : y + crop, z : z + crop].copy(), *seen[:-1]]
        np.stack(seen, -1)
        after = float(np.linalg.norm(place - target[0, 0]))
        np.clip(before - after, -1, 1)
        before = after
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    app.run(main, Config)

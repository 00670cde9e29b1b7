"""Devices and processes: batches are split over all devices of all processes.

Every process runs the same program on the same settings. Arrays that a program computes with lie on
all devices; answers are computed by each process on its own devices, of its share of the cases.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from medjax import progress
from medjax.errors import UserError
from medjax.typing import Tree

Result = TypeVar("Result")


def make() -> jax.sharding.Mesh:
    """One axis, `data`, over all devices; Auto, since linen's Dropout rejects Explicit axes."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def along(axis: int, *, mesh: jax.sharding.Mesh) -> NamedSharding:
    """Split over the devices along this axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def sharded(tree: Tree, *, mesh: jax.sharding.Mesh) -> Tree:
    """The sharding of each leaf `[seed, ...]` so that no device holds a whole one: along its
    longest axis that divides by the devices (Rajbhandari et al. 2020, stage 3)."""

    def place(leaf: Any) -> NamedSharding:
        # Never along the first axis: that of the seeds, of which a device needs all.
        fits = [a for a in range(1, leaf.ndim) if leaf.shape[a] % mesh.size == 0]
        longest = max(fits, key=lambda a: leaf.shape[a], default=None)
        return replicated(mesh) if longest is None else along(longest, mesh=mesh)

    return jax.tree.map(place, tree)


def split_batch(batch: Any, *, mesh: jax.sharding.Mesh) -> Any:
    """Inside jit: splits the leading axis of every leaf over the devices."""
    return jax.lax.with_sharding_constraint(batch, along(0, mesh=mesh))


def memory_bytes() -> int:
    """What one device can hold: of a CPU, what the machine has."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or host_memory_bytes()


def host_memory_bytes() -> int:
    """What the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_batch(size: int, *, mesh: jax.sharding.Mesh, option: str = "batch") -> None:
    """Raises UserError if the number that `option` gives cannot be split evenly."""
    if size % mesh.size:
        raise UserError(f"`{option}={size}` does not divide by the {mesh.size} devices")


def is_first() -> bool:
    """True in the process that logs and reports."""
    return jax.process_index() == 0


def my_part(size: int) -> slice:
    """The part of `size` examples, split over all devices, that lies on those of this process."""
    share = size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def put(tree: Tree, sharding: Any) -> Tree:
    """Host arrays, alike in all processes, onto the devices."""
    # Each device asks for its own part: no process sends another what that has already.
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(
            np.shape(x), sharding, lambda index: np.asarray(x)[index]
        ),
        tree,
    )


def put_part(tree: Tree, sharding: Any) -> Tree:
    """Host arrays of which each process has its part, `my_part` of the axis that is split."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def on_host(tree: Tree) -> Tree:
    """Arrays of any sharding as numpy arrays, whole, in every process."""
    from jax.experimental import multihost_utils

    def fetch(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return jax.device_get(x)
        # A collective: a process that came here alone would wait for the others for ever.
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(fetch, tree)


def at_hand(tree: Tree) -> Tree:
    """Arrays of any sharding, whole on each device of this process: what it answers with."""
    if jax.device_count() == 1:
        return tree
    here = replicated(_mine())

    def fetch(x: jax.Array) -> jax.Array:
        if not x.is_fully_replicated:
            return jax.device_put(on_host(x), here)
        return jax.make_array_from_single_device_arrays(  # they lie here already
            x.shape, here, [shard.data for shard in x.addressable_shards]
        )

    return jax.tree.map(fetch, tree)


def spread(tree: Tree) -> Tree:
    """Host arrays over the devices of this process, along their first axis where it divides."""
    mine = _mine()
    if mine.size == 1 or any(len(x) % mine.size for x in jax.tree.leaves(tree)):
        return tree
    return jax.device_put(tree, along(0, mesh=mine))


def _mine() -> jax.sharding.Mesh:
    return jax.make_mesh(
        (jax.local_device_count(),),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=jax.local_devices(),
    )


def everywhere(run: Callable[[int], Any], count: int) -> list[Any]:
    """`run(0)` to `run(count - 1)`, each done by one process, all known to all.

    Args:
      run: gives trees of numpy arrays whose shapes are always the same.
    """
    from jax.experimental import multihost_utils

    processes, me = jax.process_count(), jax.process_index()
    if processes == 1 or not count:
        return [run(i) for i in progress.track(range(count), total=count, what="answering")]
    rounds = -(-count // processes)
    mine = [run(min(me + processes * k, count - 1)) for k in range(rounds)]
    every = multihost_utils.process_allgather(jax.tree.map(lambda *x: np.stack(x), *mine))
    return [
        jax.tree.map(lambda x, i=i: np.asarray(x[i % processes, i // processes]), every)
        for i in range(count)
    ]


def agree(number: int, stop: bool) -> tuple[int, bool]:
    """What the first process says of `number`, and whether any wants to `stop`: the same in all."""
    if jax.process_count() == 1:
        return number, stop
    from jax.experimental import multihost_utils

    gathered = np.asarray(multihost_utils.process_allgather(np.array([number, stop], np.int32)))
    return int(gathered[0, 0]), bool(gathered[:, 1].any())


def all_or_none(call: Callable[[], Result]) -> Result:
    """What `call` gives, if it raises in no process; else every process raises."""
    error, result = None, None
    try:
        result = call()
    except Exception as e:
        error = e
    _, any_failed = agree(0, error is not None)
    if any_failed:
        raise error or RuntimeError("another process could not do it")
    return result  # type: ignore[return-value]

"""Devices: the batch is split over all of them, everything else is on each."""

import os
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from medjax.errors import UserError


def make() -> jax.sharding.Mesh:
    """One axis, `data`, over all devices; Auto, since linen's Dropout rejects Explicit axes."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """A whole copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def along(axis: int, *, mesh: jax.sharding.Mesh) -> NamedSharding:
    """Split over the devices along this axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def split_batch(batch: Any, *, mesh: jax.sharding.Mesh) -> Any:
    """Inside jit: splits the leading axis of every leaf over the devices."""
    return jax.lax.with_sharding_constraint(batch, along(0, mesh=mesh))


def memory_bytes() -> int:
    """What one device can hold: of a CPU, what the machine has."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_batch(size: int, *, mesh: jax.sharding.Mesh, flag: str = "--batch") -> None:
    """Raises UserError if what `flag` says cannot be split evenly."""
    if size % mesh.size:
        raise UserError(f"{flag}={size} does not divide by the {mesh.size} devices")

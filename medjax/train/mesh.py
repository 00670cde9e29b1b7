"""Devices: the batch is split over all of them, everything else is on each."""

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


def split_batch(batch: Any, *, mesh: jax.sharding.Mesh) -> Any:
    """Inside jit: splits the leading axis of every leaf over the devices."""
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("data")))


def check_batch(size: int, *, mesh: jax.sharding.Mesh) -> None:
    """Raises UserError if a batch of `size` cannot be split evenly."""
    if size % mesh.size:
        raise UserError(f"--batch={size} does not divide by the {mesh.size} devices")

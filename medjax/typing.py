"""Names for the things that pass between modules."""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array
Params = Mapping[str, Any]
Stats = Mapping[str, Any]
Batch = Mapping[str, Array]
Logs = Mapping[str, Array]
Tree = Any  # of arrays, as `jax.tree` takes them
Json = dict[str, Any]  # what a JSON object holds
JsonView = Mapping[str, Any]

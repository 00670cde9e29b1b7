"""Weights in a file: what is written is what was meant."""

import jax
import numpy as np
import pytest

from medjax import weights
from medjax.errors import UserError


def test_views_of_arrays_are_written_as_they_are_read(tmp_path, rng):
    """Repeated or transposed arrays have no memory of their own in their order."""
    x = rng.normal(size=(3, 4)).astype(np.float32)
    tree = ({"a": np.broadcast_to(x, (2, 3, 4)), "b": x.T[None], "c": np.float32(2.0)}, {})
    weights.write(tmp_path / "w.safetensors", tree)
    found = weights.parse((tmp_path / "w.safetensors").read_bytes(), where="w")
    assert set(found) == {"params/a", "params/b", "params/c"}
    for name, array in tree[0].items():
        np.testing.assert_array_equal(found[f"params/{name}"], array)
        assert found[f"params/{name}"].shape == np.shape(array)


def test_a_part_may_keep_its_own_values():
    shapes = ({"below": {"k": jax.ShapeDtypeStruct((2,), np.float32)}, "fc": {"k": np.ones(3)}}, {})
    arrays = {"params/below/k": np.zeros(2, np.float32), "params/fc/k": np.zeros(5)}
    params, _ = weights.fit(arrays, shapes, where="w", own="params/fc/")
    np.testing.assert_array_equal(params["fc"]["k"], np.ones(3))
    np.testing.assert_array_equal(params["below"]["k"], np.zeros(2))
    with pytest.raises(UserError, match="w: params/fc/k is float64 of"):
        weights.fit(arrays, shapes, where="w")

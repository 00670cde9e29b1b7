"""Every network by name; whether their numbers are right is for `tests/parity`."""

import jax
import jax.numpy as jnp
import pytest

from medjax import models

SLOW = {("efficientnet_lite0", 3), ("efficientnet_lite1", 3)}


@pytest.mark.parametrize(
    ("name", "ndim"),
    [
        pytest.param(name, ndim, marks=[pytest.mark.slow] if (name, ndim) in SLOW else [])
        for name in models.CLASSIFIERS
        for ndim in (2, 3)
    ],
)
def test_shapes_in_two_and_three_dimensions(name, ndim):
    model = models.classifier(name, num_classes=5, dtype="bfloat16")
    shape = (2, *(models.smallest_side(name),) * ndim, 3)

    def both(key):
        variables = model.init(key, jnp.zeros(shape), train=False)
        trained, _ = model.apply(
            variables, jnp.zeros(shape), train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return model.apply(variables, jnp.zeros(shape), train=False), trained, variables

    used, trained, variables = jax.eval_shape(both, jax.random.key(0))  # nothing is computed
    assert used.shape == trained.shape == (2, 5)
    assert used.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

"""Every network by name; whether their numbers are right is for `tests/parity`."""

import jax
import jax.numpy as jnp
import pytest

from medjax import models
from medjax.models.vgg import adaptive_mean

SLOW = {  # with as many layers to trace as in two dimensions
    (name, 3)
    for name in (
        "convnext_tiny",
        "densenet121_28",
        "densenet121_224",
        "efficientnet_b0",
        "efficientnet_lite0",
        "efficientnet_lite1",
    )
}


@pytest.mark.parametrize(
    ("name", "ndim"),
    [
        pytest.param(name, ndim, marks=[pytest.mark.slow] if (name, ndim) in SLOW else [])
        for name in models.CLASSIFIERS
        for ndim in (2, 3)
        if ndim == 2 or name not in models.ONLY_2D
    ],
)
def test_shapes_in_two_and_three_dimensions(name, ndim):
    model = models.classifier(name, num_classes=5, dtype="bfloat16")
    shape = (2, *(models.smallest_side(name),) * ndim, 3)

    def both(key):
        used, variables = model.init_with_output(key, jnp.zeros(shape), train=False)
        trained, _ = model.apply(
            variables, jnp.zeros(shape), train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        return used, trained, variables

    used, trained, variables = jax.eval_shape(both, jax.random.key(0))  # nothing is computed
    assert used.shape == trained.shape == (2, 5)
    assert used.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_windows_of_any_size_have_the_means_of_pytorch():
    """5 voxels to 2 windows: 0 to 2 and 2 to 4, which share the middle one."""
    found = adaptive_mean(jnp.arange(5.0).reshape(1, 5, 1), 2)
    assert found.ravel().tolist() == [1, 3]
    assert adaptive_mean(jnp.array([[[2.0]]]), 3).ravel().tolist() == pytest.approx([2, 2, 2])

"""Networks over time: padding, streaming, cycles and reversed time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.models.recurrent import STREAMED

LENGTH = jnp.array([6, 4])


@functools.cache
def made(recurrence):
    model = models.over_time("cnn", recurrence=recurrence, features=8, hidden=8, outputs=2)
    frames = jax.random.normal(jax.random.key(1), (2, 6, 16, 16, 1))
    variables = jax.jit(lambda: model.init(jax.random.key(0), frames, LENGTH, train=False))()

    @functools.partial(jax.jit, static_argnames="cyclic")
    def apply(frames, length, cyclic=False):
        return model.apply(variables, frames, length, train=False, cyclic=cyclic)

    return model, variables, frames, apply


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("recurrence", models.RECURRENCES)
def test_padding_never_changes_an_answer(recurrence, cyclic):
    _, _, frames, apply = made(recurrence)
    found = apply(frames, LENGTH, cyclic)
    assert float(found.std()) > 1e-4
    longer = jnp.pad(frames, ((0, 0), (0, 3), *[(0, 0)] * 3), constant_values=9.0)
    padded = apply(longer.at[1, 4:].set(-7.0), LENGTH, cyclic)
    for i, n in enumerate(LENGTH):
        np.testing.assert_allclose(padded[i, :n], found[i, :n], atol=1e-5)


@pytest.mark.parametrize("recurrence", STREAMED)
def test_streaming_equals_the_whole(recurrence):
    model, variables, frames, apply = made(recurrence)
    whole = apply(frames, LENGTH)
    carry = model.apply(variables, 2, frames[0, 0], method="begin")
    step = jax.jit(lambda carry, x: model.apply(variables, carry, x, method="step"))
    for t in range(6):
        carry, found = step(carry, frames[:, t])
        np.testing.assert_allclose(found[0], whole[0, t], atol=1e-5)
        if t < 4:
            np.testing.assert_allclose(found[1], whole[1, t], atol=1e-5)


def test_without_recurrence_reversed_time_reverses_the_answer():
    _, _, frames, apply = made("none")
    whole = jnp.array([6, 6])
    np.testing.assert_allclose(
        apply(frames[:, ::-1], whole), apply(frames, whole)[:, ::-1], atol=1e-5
    )


def test_both_ways_reversed_time_exchanges_the_two_ways():
    model, variables, frames, apply = made("bilstm")
    whole = jnp.array([6, 6])
    params = variables["params"]
    first, second = sorted(params["recurrent"])
    head = params["head"]["kernel"]
    swapped = {
        **params,
        "recurrent": {first: params["recurrent"][second], second: params["recurrent"][first]},
        "head": {**params["head"], "kernel": jnp.concatenate([head[4:8], head[:4], head[8:]])},
    }
    back = model.apply({**variables, "params": swapped}, frames[:, ::-1], whole, train=False)
    np.testing.assert_allclose(back, apply(frames, whole)[:, ::-1], atol=1e-5)


@pytest.mark.parametrize("recurrence", ["lstm", "gru", "convlstm"])
def test_one_way_the_future_does_not_matter(recurrence):
    _, _, frames, apply = made(recurrence)
    other = frames.at[:, 4:].set(0.0)
    a, b = (apply(x, jnp.array([6, 6])) for x in (frames, other))
    np.testing.assert_allclose(a[:, :4], b[:, :4], atol=1e-6)
    assert float(jnp.abs(a - b)[:, 4:].max()) > 1e-4


@pytest.mark.parametrize(
    ("recurrence", "atol"),
    [("none", 1e-5), ("tcn", 1e-5), ("lstm", 0.02), ("bilstm", 0.02), ("gru", 0.05)],
)
@pytest.mark.parametrize("count", [18, 3])
def test_a_shifted_cycle_shifts_the_answer(recurrence, atol, count):
    """However short the cycle; a recurrence forgets its beginning only in time."""
    _, _, _, apply = made(recurrence)
    frames = jax.random.normal(jax.random.key(2), (1, 20, 16, 16, 1))
    length = jnp.array([count])
    shifted = jnp.concatenate([jnp.roll(frames[:, :count], 2, 1), frames[:, count:]], 1)
    found = apply(frames, length, True)[:, :count]
    np.testing.assert_allclose(
        apply(shifted, length, True)[:, :count],
        jnp.roll(found, 2, 1),
        atol=atol * float(jnp.abs(found).max()) + 1e-6,
    )


def test_computing_twice_changes_no_gradient():
    _, variables, frames, _ = made("lstm")

    def gradient(remat):
        model = models.over_time(
            "cnn", recurrence="lstm", features=8, hidden=8, outputs=2, remat=remat
        )
        return jax.jit(
            jax.grad(
                lambda p: (
                    model.apply({**variables, "params": p}, frames, LENGTH, train=False) ** 2
                ).sum()
            )
        )(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        gradient(False),
        gradient(True),
    )


def test_what_does_not_go_together_is_said():
    with pytest.raises(UserError, match="did you mean bilstm"):
        models.over_time("cnn", recurrence="bilsm", features=8, hidden=8, outputs=1)
    with pytest.raises(UserError, match="`encoder=cnn`"):
        models.over_time("resnet18_28", recurrence="convlstm", features=8, hidden=8, outputs=1)

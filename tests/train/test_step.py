import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.train import feed, loop, mesh, optim, state, step

FOURS = functools.partial(feed.batch_index, size=12, batch=4)


def loss(key, params, stats, batch):
    error = batch["x"] @ params["w"] - batch["y"]
    value = (error**2).mean()
    return value, ({"seen": stats["seen"] + 1.0}, {"loss": value})


def data(n=12):
    x = jax.random.normal(jax.random.key(0), (n, 3))
    return {"x": x, "y": x @ jnp.array([1.0, -2.0, 0.5])}


def fresh(optimizer):
    return state.create({"w": jnp.zeros(3)}, {"seen": jnp.zeros(())}, optimizer)


def advance_with(optimizer, **options):
    return step.make_advance(step.make_step(loss, optimizer, **options), feed.pick_resident(FOURS))


def test_one_call_of_many_equals_many_calls_of_one():
    optimizer = optax.adam(0.1)
    advance = jax.jit(advance_with(optimizer))
    key, start = jax.random.key(1), fresh(optimizer)
    once, logs = advance(key, start, data(), 7)
    many, total = start, 0.0
    for _ in range(7):
        many, one = advance(key, many, data(), 1)
        total += float(one["loss"])
    jax.tree.map(np.testing.assert_array_equal, once, many)
    assert float(logs["loss"]) == pytest.approx(total, rel=1e-5)
    assert once.step == once.stats["seen"] == 7
    assert logs["bad_step"] == -1


def test_many_seeds_equal_each_alone():
    optimizer = optax.sgd(0.1)
    advance = advance_with(optimizer)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), fresh(optimizer))
    together, _ = jax.jit(step.over_seeds(advance, (0, 0, None, None)))(keys, states, data(), 5)
    for s in range(3):
        alone, _ = jax.jit(advance)(keys[s], fresh(optimizer), data(), 5)
        np.testing.assert_allclose(together.params["w"][s], alone.params["w"], rtol=1e-6)
    vmapped, _ = jax.jit(jax.vmap(advance, (0, 0, None, None)))(keys, states, data(), 5)
    np.testing.assert_allclose(vmapped.params["w"], together.params["w"], rtol=1e-5)


def test_a_stream_gives_the_batches_of_a_resident_set():
    whole = data()
    key = jax.random.key(3)
    data_key = jax.random.split(key)[1]
    host = jax.tree.map(np.asarray, whole)
    read = lambda i: jax.tree.map(lambda x: x[i], host)  # noqa: E731
    streamed = feed.stream(data_key, read, FOURS)
    optimizer = optax.sgd(0.05)
    update = step.make_step(loss, optimizer)
    resident = jax.jit(step.make_advance(update, feed.pick_resident(FOURS)))
    chunked = jax.jit(step.make_advance(update, feed.pick_streamed))
    a, _ = resident(key, fresh(optimizer), whole, 13)
    b = fresh(optimizer)
    for start, count in ((0, 3), (3, 5), (8, 5)):
        b, _ = chunked(key, b, streamed(start, count), count)
    np.testing.assert_allclose(a.params["w"], b.params["w"], rtol=1e-6)
    late = feed.stream(data_key, read, FOURS)(29, 1)  # as after a resume
    np.testing.assert_array_equal(
        late["x"][29 % feed.CHUNK],
        read(np.asarray(feed.batch_index(data_key, 29, size=12, batch=4)))["x"],
    )


def test_a_stream_reads_no_batch_twice():
    """Calls of one update each, as where an update takes long."""
    asked = []

    def read(index):
        asked.append(len(index))
        return {"x": np.zeros((len(index), 1))}

    streamed = feed.stream(jax.random.key(0), read, FOURS)
    for step_ in range(2 * feed.CHUNK):
        streamed(step_, 1)
    assert sum(asked) <= 3 * feed.CHUNK * 4  # the third chunk is read ahead


def test_an_epoch_of_batches_holds_each_example_once():
    index = [feed.batch_index(jax.random.key(0), jnp.int32(s), size=12, batch=4) for s in range(3)]
    assert sorted(np.concatenate(index).tolist()) == list(range(12))


def test_batches_of_examples_as_long_as_one_another():
    length = jnp.asarray(np.random.default_rng(0).integers(10, 100, 50))
    pick = jax.jit(functools.partial(feed.alike_index, length=length, batch=8))
    key = jax.random.key(0)
    epochs = [np.stack([pick(key, jnp.int32(6 * e + s)) for s in range(6)]) for e in range(20)]
    for batches in epochs:
        assert len(set(batches.ravel().tolist())) == 48  # none twice; two are left out
        spread = np.sort(np.ptp(np.asarray(length)[batches], axis=1))
        assert spread[:5].max() < 60 and np.mean(spread[:5]) < 40  # one may go round the end
    assert set(np.concatenate(epochs).ravel().tolist()) == set(range(50))
    assert sorted(map(sorted, epochs[0].tolist())) != sorted(map(sorted, epochs[1].tolist()))


def test_padding_counts_every_case_once():
    seen = [i for index, valid in feed.padded(10, batch=4) for i in index[valid]]
    assert seen == list(range(10))
    assert all(len(index) == 4 for index, _ in feed.padded(10, batch=4))


def test_the_moving_average_by_hand():
    """With decay d from step 0: the rate is min(d, (1 + t) / (10 + t))."""
    mean = state.average(jnp.array(1.0), jnp.array(2.0), step=jnp.int32(0), decay=0.9)
    assert mean == pytest.approx(0.1 * 1 + 0.9 * 2)
    mean = state.average(jnp.array(1.0), jnp.array(2.0), step=jnp.int32(10**6), decay=0.9)
    assert mean == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert state.average(jnp.array(1.0), jnp.array(2.0), step=jnp.int32(9), decay=0.0) == 2.0


def test_fit_calls_hooks_at_their_steps_whatever_the_pace():
    optimizer = optax.sgd(0.1)
    advance = jax.jit(advance_with(optimizer))

    def calls_at(pace):
        calls = []
        loop.fit(
            lambda s, d, n: advance(jax.random.key(0), s, d, n),
            fresh(optimizer),
            feed.resident(data),
            start=0,
            steps=23,
            pace_seconds=pace,
            hooks=[
                loop.Hook(5, lambda step, *_: calls.append(step)),
                loop.Hook(7, lambda step, *_: calls.append(-step)),
            ],
        )
        return calls

    assert calls_at(0.0) == calls_at(10.0) == [5, -7, 10, -14, 15, 20, -21, 23, -23]


def test_fit_stops_when_asked_and_names_the_step_of_a_bad_loss():
    optimizer = optax.sgd(0.1)
    advance = jax.jit(advance_with(optimizer))
    call = lambda s, d, n: advance(jax.random.key(0), s, d, n)  # noqa: E731
    answers = iter([False, False, True])
    done = loop.fit(
        call,
        fresh(optimizer),
        feed.resident(data),
        start=0,
        steps=100,
        stop=lambda: next(answers),
        pace_seconds=0.0,
    )
    assert done.step == 2
    wild = optax.sgd(1e30)
    advance = jax.jit(advance_with(wild))
    saved = []
    with pytest.raises(UserError, match=r"not finite at step [23]; the last good checkpoint"):
        loop.fit(
            call,
            fresh(wild),
            feed.resident(data),
            start=0,
            steps=50,
            hooks=[loop.Hook(50, lambda step, *_: saved.append(step))],
        )
    assert not saved


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_optimizers_learn_and_decay_kernels_only(name):
    make = optim.make(
        name, learning_rate=0.05, steps=100, warmup_steps=10, weight_decay=0.1, clip_norm=1.0
    )
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    opt = make.init(params)
    zero = jax.tree.map(jnp.zeros_like, params)
    for _ in range(20):
        updates, opt = make.update(zero, opt, params)
        params = optax.apply_updates(params, updates)
    assert (params["kernel"] < 0.99).all()
    assert (params["bias"] == 1).all()


def test_sgd_is_nesterov_by_hand():
    """v = g, then update m v + g with momentum m: 0.1 * (0.9 + 1) for a gradient of one."""
    make = optim.make("sgd", learning_rate=0.1, steps=10, schedule="constant")
    params = {"w": jnp.zeros(())}
    updates, _ = make.update({"w": jnp.ones(())}, make.init(params), params)
    assert updates["w"] == pytest.approx(-0.19)


def test_cosine_ends_at_zero_after_a_linear_start():
    make = optim.make("sgd", learning_rate=1.0, steps=20, warmup_steps=10, momentum=0.0)
    params, rates = {"w": jnp.zeros(())}, []
    opt = make.init(params)
    for _ in range(21):
        updates, opt = make.update({"w": -jnp.ones(())}, opt, params)
        rates.append(float(updates["w"]))
    assert rates[0] == 0.0
    assert rates[5] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(1.0)
    assert rates[15] == pytest.approx(0.5)
    assert rates[20] == pytest.approx(0.0, abs=1e-6)


def test_only_the_named_modules_are_trained():
    make = optim.make("adamw", learning_rate=0.1, steps=10, only=("fc",))
    params = {"fc": {"w": jnp.ones((1, 1))}, "trunk": {"w": jnp.ones((1, 1))}}
    updates, _ = make.update(params, make.init(params), params)
    assert updates["trunk"]["w"] == 0
    assert updates["fc"]["w"] != 0


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="unknown optimizer 'adam': did you mean adamw"):
        optim.make("adam", learning_rate=0.1, steps=1)
    with pytest.raises(UserError, match="unknown schedule"):
        optim.make("sgd", learning_rate=0.1, steps=1, schedule="step")


def test_batches_must_divide():
    mesh.check_batch(8, mesh=mesh.make())

    class Eight:
        size = 8

    with pytest.raises(UserError, match="`batch=12` does not divide by the 8 devices"):
        mesh.check_batch(12, mesh=Eight())

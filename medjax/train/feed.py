"""Batches: a pure function of (key, step), so that nothing need be saved to resume them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.ops.order import shuffled
from medjax.typing import Array, Batch, Key

Feed = Callable[[int, int], Any]
Pick = Callable[[Key, Batch, Array, Array], Batch]
Index = Callable[[Key, Array], Array]  # the examples of a batch, by the key of all and its number
CHUNK = 8  # batches read at once when they are streamed


def batch_index(key: Key, step: Array, *, size: int, batch: int) -> Array:
    """The examples of batch number `step` out of `size`: `[batch]`, int32.

    Batches follow one another through endless shuffled epochs; one may hold the end of an epoch
    and the start of the next.
    """
    position = step * batch + jnp.arange(batch)
    return jax.vmap(lambda p: shuffled(key, p, size=size))(position)


def subset(key: Key, label: np.ndarray, *, per_class: int) -> Array:
    """The examples of a training set of `per_class` of each class, in turn: `[per_class * class]`.

    A pure function of the key: whoever trains with it sees the same ones, and a smaller set is the
    beginning of a larger one.
    """
    place = jnp.arange(per_class)

    def draw(number: int) -> Array:
        rows = np.flatnonzero(label == number)
        order = functools.partial(shuffled, jax.random.fold_in(key, number), size=len(rows))
        return jnp.asarray(rows)[jax.vmap(order)(place)]

    return jnp.stack([draw(c) for c in range(int(label.max()) + 1)], 1).reshape(-1)


def subset_index(key: Key, step: Array, *, label: np.ndarray, per_class: int, batch: int) -> Array:
    """As `batch_index`, but of the `subset` alone."""
    members = subset(key, label, per_class=per_class)
    return members[batch_index(key, step, size=len(members), batch=batch)]


def alike_index(key: Key, step: Array, *, length: Array, batch: int) -> Array:
    """As `batch_index`, but the examples of a batch have about one `length` `[size]`.

    Each epoch sorts them anew, by lengths that are up to a fifth off, and cuts the order into
    batches from a random place on; what does not fill a batch is left out of that epoch.
    """
    count = max(len(length) // batch, 1)
    noise_key, roll_key = jax.random.split(jax.random.fold_in(key, step // count))
    off = jax.random.uniform(noise_key, length.shape, minval=0.8, maxval=1.2)
    first = jax.random.randint(roll_key, (), 0, len(length))
    position = first + batch * shuffled(key, step, size=count) + jnp.arange(batch)
    return jnp.argsort(length * off)[position % len(length)].astype(jnp.int32)


def pick_resident(which: Index) -> Pick:
    """Batches gathered on the device from a set that lies there whole."""

    def pick(key: Key, data: Batch, step: Array, i: Array) -> Batch:
        index = which(key, step)
        return jax.tree.map(lambda x: x[index], data)

    return pick


def pick_streamed(key: Key, data: Batch, step: Array, i: Array) -> Batch:
    """The batch of `step` in the chunk that `stream` made."""
    return jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, step % CHUNK, keepdims=False), data
    )


def resident(load: Callable[[], Any]) -> Feed:
    """The whole set at every step; `load` puts it onto the device when it is first asked for."""
    load = functools.cache(load)
    return lambda step, count: load()


def stream(
    key: Key,
    read: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    which: Index,
    *,
    part: slice = slice(None),
    place: Callable[[Any], Any] = jax.device_put,
) -> Feed:
    """Chunks of `CHUNK` batches read on the host, the next one while the device works.

    Chunks start at multiples of `CHUNK`; no call may ask for steps of two of them.

    Args:
      key: draws the order, the same as that of a resident set with this data key.
      read: example indices `[n]` to a batch of numpy arrays `[n, ...]`.
      which: the examples of a batch.
      part: of each batch, what this process reads; `place` brings it onto the devices.
    """
    # The order is that of a set that lies on the device, the same function of key and step: where
    # batches come from changes no result, and a run that resumes reads what it would have read.
    index = jax.jit(jax.vmap(lambda step: which(key, step)))
    # One thread: a second would only hold a third chunk in memory, as chunks are read in order.
    pool = ThreadPoolExecutor(1)
    ahead: dict[int, Future] = {}

    def chunk(number: int) -> Any:
        rows = np.asarray(index(number * CHUNK + np.arange(CHUNK)))[:, part]
        flat = read(rows.reshape(-1))
        return place(jax.tree.map(lambda x: x.reshape(*rows.shape, *x.shape[1:]), flat))

    def feed(step: int, count: int) -> Any:
        now = step // CHUNK
        # The next chunk is begun before this one is waited for: it is read while the device works.
        for number in (now, now + 1):
            if number not in ahead:
                ahead[number] = pool.submit(chunk, number)
        # What lies behind is let go, so that two chunks are held and no more.
        for number in [n for n in ahead if n < now]:
            del ahead[number]
        return ahead[now].result()

    return feed


def padded(size: int, *, batch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every index once, in order: (`[batch]` index, `[batch]` valid); the tail is padded."""
    for start in range(0, size, batch):
        index = np.arange(start, start + batch)
        yield np.minimum(index, size - 1), index < size

"""Which example comes when: a pure function of (seed, position), in constant memory."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array, Key

_ROUNDS = 6
_FEW = 16


def _mix(x: Array) -> Array:
    """A bijective scramble of 32 bits (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def shuffled(key: Key, position: Array, *, size: int) -> Array:
    """The index that stands at `position` of an endless stream of shuffled epochs.

    Epoch e (positions e * size to (e + 1) * size - 1) holds each of 0 .. size - 1 once. Nothing
    is stored or sorted, unless there are 16 or fewer: a Feistel network permutes the next power of
    four above `size`, and values outside the range are permuted again until they fall inside (cycle
    walking; Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

    Args:
      key: a typed key.
      position: int32 scalar, not negative.
      size: how many examples there are.
    """
    chex.assert_rank(position, 0)
    half = max((int(size) - 1).bit_length() + 1, 2) // 2
    mask = jnp.uint32((1 << half) - 1)
    epoch = jax.random.fold_in(key, position // size)
    if size <= _FEW:  # on so few bits a Feistel network prefers some orders
        return jax.random.permutation(epoch, size)[position % size].astype(jnp.int32)
    rounds = jax.random.bits(epoch, (_ROUNDS,), jnp.uint32)

    def permute(x: Array) -> Array:
        left, right = x >> half, x & mask
        for r in rounds:
            left, right = right, (left ^ _mix(right ^ r)) & mask
        return (left << half) | right

    start = permute((position % size).astype(jnp.uint32))
    end = jax.lax.while_loop(lambda x: x >= size, permute, start)
    return end.astype(jnp.int32)

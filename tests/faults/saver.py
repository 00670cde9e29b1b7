"""Saves checkpoints as fast as it can, and says which are safe, until a test kills it."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from medjax.train.checkpoint import Checkpoints


def state(step):
    """What step `step` saves: a megabyte that no other step has."""
    big = jax.random.normal(jax.random.key(step), (512, 512))
    return {"w": big, "step": jnp.int32(step)}


def abstract():
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state(0))


def main(folder):
    made = Checkpoints(folder)
    found = made.newest(abstract())
    step = found[1]["step"] if found else 0
    while True:
        step += 1
        made.save(step, state(step), score=float(step % 7), meta={"step": step})
        made.wait()
        print(step, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

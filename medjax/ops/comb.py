"""One image at several scales, each stored so that a crop at that scale is one block of memory."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from medjax.typing import Array


def scales(
    image: Array, box: Array, *, spacing: Sequence[int], largest: tuple[int, ...], room: int
) -> Array:
    """What an image holds in its box, smoothed and combed for each scale.

    A scale of s voxels is smoothed by a Gaussian of s / 2 voxels, and keeps its resolution.

    Args:
      image: `[*space]`, values from 0 to 255 or so: they are rounded.
      box: `[2, ndim]`, its first voxel and the one beyond its last.
      spacing: so many voxels lie between two samples of a scale.
      largest: no box has more voxels along any axis.
      room: as of `comb`.

    Returns:
      `[scale, *size_of(...)]`, of the image's type; the box begins at its corner.
    """
    chex.assert_rank([image, box], [len(largest), 2])
    shape = box[1] - box[0]
    corner = jnp.roll(image.astype(jnp.float32), -box[0], range(image.ndim))

    def comb_scale(s: int) -> Array:
        smooth = jnp.rint(gaussian(corner, shape, sd=s / 2 if s > 1 else 0.0, largest=largest))
        return comb(
            smooth.astype(image.dtype),
            spacing=s,
            room=room,
            size=size_of(largest, spacing=spacing, room=room),
        )

    return jnp.stack([comb_scale(s) for s in spacing])


def gaussian(image: Array, shape: Array, *, sd: float, largest: tuple[int, ...]) -> Array:
    """The first `shape` voxels of an image, smoothed by a Gaussian that is cut at four standard
    deviations and mirrored at their sides; 0 beyond. `[*largest]`.

    The sides are not known when it is compiled, so along each axis it is a product of matrices.
    """
    reach = int(4 * sd + 0.5)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sd, 1e-9)) ** 2)
    weight = jnp.asarray(bell / bell.sum(), jnp.float32)

    def along(axis: int) -> Array:
        """`[largest, n]`, from voxels to smoothed voxels."""
        side = shape[axis]
        to = jnp.arange(largest[axis])
        mirrored = (to[:, None] + jnp.arange(-reach, reach + 1)) % (2 * side)
        mirrored = jnp.minimum(mirrored, 2 * side - 1 - mirrored)
        matrix = jnp.zeros((largest[axis], image.shape[axis]))
        matrix = matrix.at[to[:, None], mirrored].add(weight)
        return jnp.where((to < side)[:, None], matrix, 0.0)

    for axis in range(image.ndim):
        image = jnp.moveaxis(
            jnp.tensordot(along(axis), image, (1, axis), precision=jax.lax.Precision.HIGHEST),
            0,
            axis,
        )
    return image


def teeth(largest: Sequence[int] | np.ndarray, *, spacing: Sequence[int], room: int) -> np.ndarray:
    """How far apart the teeth of each scale begin for images up to `largest`, `[scale, ndim]`."""
    return -(-np.asarray(largest) // np.asarray(spacing)[:, None]) + room


def size_of(
    largest: Sequence[int] | np.ndarray, *, spacing: Sequence[int], room: int
) -> tuple[int, ...]:
    """The sides of an array that holds the combs of all scales."""
    sides = teeth(largest, spacing=spacing, room=room) * np.asarray(spacing)[:, None] + room
    return tuple(sides.max(0).tolist())


def comb(image: Array, *, spacing: int, room: int, size: tuple[int, ...]) -> Array:
    """An image with voxels `spacing` apart brought side by side: `[*size]`, 0 between its teeth.

    Along each axis, voxel x stands at `room + (x mod spacing) tooth + x div spacing`. So what an
    agent sees, at whatever scale, is one block of memory, which is copied ten times faster than
    voxels are gathered one by one; and as teeth are `room` apart, nothing need be masked at the
    image's sides.
    """
    places = [
        room + (x % spacing) * t + x // spacing
        for x, t in zip(
            map(np.arange, image.shape),
            teeth(image.shape, spacing=[spacing], room=room)[0],
            strict=True,
        )
    ]
    return jnp.zeros(size, image.dtype).at[np.ix_(*places)].set(image)

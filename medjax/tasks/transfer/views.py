"""What a network that stays as it is may be shown of an image."""

import itertools

import chex
import jax
import jax.numpy as jnp

from medjax.ops.saliency import find_salient
from medjax.typing import Array

_STARTS = (0.0, 0.25, 0.5)  # of windows of half of the sides
WINDOWS = len(_STARTS) ** 2


def show_image(image: Array) -> Array:
    """The image itself, `[1, *space, channel]`."""
    return image[None]


def show_saliency(image: Array) -> Array:
    """The map of what stands out in it, in each channel: `[1, height, width, channel]` (Kumar et
    al., Plane identification in fetal ultrasound images using saliency maps and convolutional
    neural networks, ISBI 2016)."""
    return jnp.broadcast_to(find_salient(image), image.shape)[None]


def show_windows(image: Array) -> Array:
    """Nine windows of half of its sides, which overlap by half, enlarged to its size: `[9, height,
    width, channel]`."""
    chex.assert_rank(image, 3)
    height, width, _ = image.shape
    windows = [
        image[int(a * height) :, int(b * width) :][: max(height // 2, 1), : max(width // 2, 1)]
        for a, b in itertools.product(_STARTS, repeat=2)
    ]
    return jnp.stack([jax.image.resize(window, image.shape, "linear") for window in windows])

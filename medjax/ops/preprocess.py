"""What is done to stored pixels before a network sees them."""

import dataclasses

import jax.numpy as jnp

from medjax.ops import intensity
from medjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From stored pixels to network input; fitted on the training split.

    Attributes:
      low, high: these pixel values become 0 and 1; what lies beyond is clipped.
      mean, sd: of each channel, after that.
    """

    low: float
    high: float
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def unit(self, image: Array) -> Array:
        """Pixels to [0, 1]: what augmentation works on."""
        scaled = (image.astype(jnp.float32) - self.low) / (self.high - self.low)
        return jnp.clip(scaled, 0.0, 1.0)

    def standardise(self, image: Array) -> Array:
        """[0, 1] to mean 0 and standard deviation 1 a channel."""
        return intensity.standardise(image, mean=jnp.array(self.mean), sd=jnp.array(self.sd))

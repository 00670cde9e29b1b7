"""What stands out in an image, without training."""

import chex
import jax
import jax.numpy as jnp

from medjax.typing import Array

_SIDE = 64  # pixels of the longer side that the spectrum is of
_SD = 2.5  # pixels there, by which the map is smoothed
_FLAT = 1e-6  # the deviation of intensities below which nothing stands out


def find_salient(image: Array) -> Array:
    """How much each pixel stands out, by the spectral residual: `[height, width, 1]`, 0 to 1.

    Hou and Zhang, Saliency detection: a spectral residual approach (CVPR 2007): the logarithm of
    the amplitudes, less its mean over 3 x 3 frequencies, is what the image has and others have not.
    A flat image has a map of zeros.

    Args:
      image: `[height, width, channel]`.
    """
    chex.assert_rank(image, 3)
    gray = image.mean(-1)
    factor = min(1.0, _SIDE / max(gray.shape))
    small = [max(round(n * factor), 1) for n in gray.shape]
    spectrum = jnp.fft.fft2(jax.image.resize(gray, small, "linear"))
    residual = jnp.log(jnp.abs(spectrum) + _FLAT)
    residual -= _mean_about(residual)
    salient = jnp.abs(jnp.fft.ifft2(jnp.exp(residual + 1j * jnp.angle(spectrum)))) ** 2
    smooth = _smooth(salient)
    low, high = smooth.min(), smooth.max()
    scaled = jnp.where(gray.std() > _FLAT, (smooth - low) / jnp.maximum(high - low, 1e-30), 0.0)
    return jax.image.resize(scaled, gray.shape, "linear")[..., None]


def _mean_about(values: Array) -> Array:
    """Means over 3 x 3; the ends of an axis are neighbours."""
    for axis in (0, 1):
        values = (jnp.roll(values, 1, axis) + values + jnp.roll(values, -1, axis)) / 3
    return values


def _smooth(values: Array) -> Array:
    """By a Gaussian, as a product of spectra."""
    square = sum(
        jnp.square(jnp.fft.fftfreq(n)).reshape(shape)
        for n, shape in zip(values.shape, ((-1, 1), (1, -1)), strict=True)
    )
    return jnp.fft.ifft2(jnp.fft.fft2(values) * jnp.exp(-2 * (jnp.pi * _SD) ** 2 * square)).real

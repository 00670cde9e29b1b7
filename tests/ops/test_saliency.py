"""What stands out in an image, against numpy and scipy, step by step."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.ops.saliency import find_salient


def reference(gray):
    spectrum = np.fft.fft2(gray)
    logarithm = np.log(np.abs(spectrum) + 1e-6)
    residual = logarithm - ndimage.uniform_filter(logarithm, 3, mode="wrap")
    salient = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    smooth = ndimage.gaussian_filter(salient, 2.5, mode="wrap", truncate=8)
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def test_the_spectral_residual_is_that_of_numpy(rng):
    image = rng.uniform(size=(40, 48, 3)).astype(np.float32)
    found = np.asarray(find_salient(image))
    assert found.shape == (40, 48, 1)
    np.testing.assert_allclose(found[..., 0], reference(image.mean(-1)), atol=2e-3)


@pytest.mark.parametrize("shape", [(64, 64), (200, 150)])
def test_a_disc_stands_out_of_stripes(shape):
    rows, columns = np.indices(shape)
    image = 0.5 + 0.2 * np.sin(rows * 2 * np.pi / 8)
    centre = np.array(shape) * [0.25, 0.7]
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (max(shape) / 16) ** 2
    image[disc] = 1.0
    found = np.asarray(find_salient(image[..., None].astype(np.float32)))[..., 0]
    assert found[disc].mean() > 3 * found[~disc].mean()


def test_nothing_stands_out_of_a_flat_image():
    assert not np.asarray(find_salient(np.full((16, 20, 1), 0.3, np.float32))).any()

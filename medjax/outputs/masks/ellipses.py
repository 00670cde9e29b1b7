"""The ellipse of a single structure, as a head or a vessel is measured by its axes."""

import numpy as np
from scipy import ndimage

from medjax.data import geometry
from medjax.data.info import DatasetInfo
from medjax.evaluation.lengths import Lengths
from medjax.evaluation.metrics import Floats
from medjax.outputs.masks import metrics


def axes(mask: np.ndarray, *, spacing: np.ndarray) -> Floats:
    """The long and the short axis `[2]` of the ellipse with the second moments of a mask `[h, w]`.

    Of its largest piece, holes filled. Pixels are squares: each adds its own moment. An empty mask
    has axes of 0, so that one that was missed counts with its whole length.

    Args:
      spacing: of the pixels, `[2]`; the unit of the axes (whole, not half).
    """
    piece = metrics.keep_largest(mask.astype(np.uint8), structures=[1])
    places = np.argwhere(ndimage.binary_fill_holes(piece)) * spacing  # [n, 2]
    if not len(places):
        return np.zeros(2)
    moments = np.cov(places.T, bias=True) + np.diag(spacing**2) / 12
    return 4 * np.sqrt(np.linalg.eigvalsh(moments)[::-1])


def measure(info: DatasetInfo, axes_mm: np.ndarray) -> Lengths:
    """The axes and circumferences that `info` names, of axes `[n, 2]`, the long ones first."""
    out: Lengths = {}
    for name, long, short in info.ellipses:
        out |= {long: axes_mm[:, 0], short: axes_mm[:, 1]}
        out[name] = geometry.circumference(out[long], out[short])
    return out

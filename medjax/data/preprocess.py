"""How pixels are scaled, fitted on the training split."""

from collections.abc import Callable, Sequence

import numpy as np

from medjax.ops.preprocess import Preprocessing

_EXAMPLES, _VALUES = 1000, 10**8  # enough for a mean; and what memory holds with ease


def fit(read: Callable[[Sequence[int]], np.ndarray], size: int) -> Preprocessing:
    """The range, mean and standard deviation of up to 1,000 evenly spread examples.

    8-bit pixels range from 0 to 255; others between the 0.5th and 99.5th percentiles.
    Of large images fewer are read.

    Args:
      read: example indices to images `[n, *space, channel]`.
      size: how many examples there are.
    """
    count = min(size, _EXAMPLES, max(1, _VALUES // read([0]).size))
    chosen = np.unique(np.linspace(0, size - 1, count).astype(int))
    pixels = read(list(chosen))
    if pixels.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = (float(q) for q in np.quantile(pixels, [0.005, 0.995]))
        high = high if high > low else low + 1.0
    unit = np.clip((pixels.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    flat = unit.reshape(-1, unit.shape[-1])
    return Preprocessing(
        low, high, tuple(flat.mean(0).tolist()), tuple(np.maximum(flat.std(0), 1e-3).tolist())
    )

"""How pixels are scaled, fitted on the training split."""

from collections.abc import Callable, Sequence

import numpy as np

from medjax.ops.preprocess import Preprocessing

_EXAMPLES, _VALUES = 1000, 10**8  # enough for a mean; and what memory holds with ease


def fit(
    read: Callable[[Sequence[int]], np.ndarray],
    size: int,
    *,
    inside: Callable[[Sequence[int]], np.ndarray] | None = None,
) -> Preprocessing:
    """The range, mean and standard deviation of up to 1,000 evenly spread examples.

    8-bit pixels range from 0 to 255; others between the 0.5th and 99.5th percentiles.
    Of large images fewer are read.

    Args:
      read: example indices to images `[n, *space, channel]`.
      size: how many examples there are.
      inside: example indices to masks `[n, *space]`: where pixels are not of 8 bits only those
        count that are in one, as of CT in nnU-Net (Isensee et al. 2021); all, if none is.
    """
    count = min(size, _EXAMPLES, max(1, _VALUES // read([0]).size))
    chosen = np.unique(np.linspace(0, size - 1, count).astype(int))
    pixels = read(list(chosen))
    flat = pixels.reshape(-1, pixels.shape[-1])
    if pixels.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        within = inside(list(chosen)).reshape(-1) > 0 if inside else np.zeros(0)
        flat = flat[within] if within.any() else flat
        low, high = (float(q) for q in np.quantile(flat, [0.005, 0.995]))
        high = high if high > low else low + 1.0
    unit = np.clip((flat.astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return Preprocessing(
        low, high, tuple(unit.mean(0).tolist()), tuple(np.maximum(unit.std(0), 1e-3).tolist())
    )

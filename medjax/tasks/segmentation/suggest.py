"""Settings of segmentation that nobody gave, from the sizes and voxels of a set."""

import numpy as np

from medjax.data.dataset import Dataset
from medjax.data.suggest import Suggestion, device_of, suggest_steps

ANISOTROPIC = 3.0  # the longest side of a voxel over the shortest: from there on slices
_THIN = 20  # slices, below which a volume has no depth to convolve over
# Voxels of a patch by its axes: on a CPU, on an accelerator.
_MOST_VOXELS = {2: (256**2, 512**2), 3: (64**3, 128**3)}
_BATCH = {2: (8, 16), 3: (2, 2)}


def suggest(dataset: Dataset, accelerated: bool, *, levels: int) -> list[Suggestion]:
    """Patch by the usual size, batch by the axes of a patch, steps by how many cases there are."""
    train = dataset.splits["train"]
    sizes = np.median(train["size"], 0)
    thin = thin_axis(train["size"], dataset.info.spacing_mm)
    axes = [a for a in range(len(sizes)) if a != thin]
    patch, count = np.ones(len(sizes), int), len(axes)
    patch[axes] = fit_patch(
        np.max(train["size"], 0)[axes] if count == 3 else sizes[axes],
        most=_MOST_VOXELS[count][accelerated],
        divisor=2 ** (levels - 1),
    )
    usual = " x ".join(f"{n:.0f}" for n in sizes)
    reason = f"images of usually {usual} voxels, {device_of(accelerated)}"
    if thin is not None:
        reason += f"; slices, as axis {thin} is coarse or short"
    batch = _BATCH[count][accelerated]
    return [
        Suggestion("patch", tuple(patch.tolist()), reason),
        Suggestion("batch", batch, f"patches of {count} axes"),
        suggest_steps(
            len(train),
            batch,
            epochs=20 * _parts(train["size"], patch),
            accelerated=accelerated,
        ),
    ]


def thin_axis(sizes: np.ndarray, spacing_mm: tuple[float, ...] | None) -> int | None:
    """The axis along which volumes are a stack of slices, after nnU-Net: its voxels are three times
    as long as the shortest, or it has few slices where their size is not known."""
    if sizes.shape[1] == 2:
        return None
    if spacing_mm:
        longest = int(np.argmax(spacing_mm))
        return longest if spacing_mm[longest] >= ANISOTROPIC * min(spacing_mm) else None
    median = np.median(sizes, 0)
    short = int(median.argmin())
    return short if median[short] < _THIN and median.max() > ANISOTROPIC * median[short] else None


def fit_patch(size: np.ndarray, *, most: int, divisor: int) -> np.ndarray:
    """The sides of an image, within so many voxels, in multiples of the divisor: the longest side
    is cut first."""
    patch = np.maximum(np.ceil(size / divisor), 1).astype(int) * divisor
    while patch.prod() > most and patch.max() > divisor:
        patch[patch.argmax()] -= divisor
    return patch


def _parts(sizes: np.ndarray, patch: np.ndarray) -> int:
    """How many patches an image is usually covered by."""
    return int(np.ceil(np.median(sizes, 0) / patch).prod())

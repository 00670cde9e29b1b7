"""A set with masks that is made, not acquired."""

import functools

import numpy as np

from medjax.data import brain, geometry, images, splits
from medjax.data.info import DatasetInfo
from medjax.data.masks.case import MaskCase, MaskSet
from medjax.data.options import MaskOptions

SEED = 20
_LEVELS_MM = (-20.0, 45.0)  # heights of the slices
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}


def brain_tissue(options: MaskOptions) -> MaskSet:
    """The deformed ICBM-152 template with its grey and white matter, which move exactly with it.

    Transverse slices of 2 mm, one a subject at a height of its own, or whole volumes of 4 mm.
    """
    names = [f"subject_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(names, [0] * len(names), seed=SEED, shares=_SHARES)
    cases = []
    for i, (name, split) in enumerate(zip(names, chosen, strict=True)):
        subject, ndim = brain.make_subject(SEED, i), options.ndim
        read = functools.partial(_image, subject, i, ndim)
        read_mask = functools.partial(_mask, subject, i, ndim)
        cases.append(MaskCase(read, read_mask, name, name, name, split))
    info = DatasetInfo(
        "brain_tissue",
        subjects=f"synthetic, {len(cases)}",
        structures=brain.TISSUES,
        modality="T1-weighted MR, simulated from a template",
        synthetic=True,
        licence="permissive (McGill)",
        citation=brain.CITATION,
    )
    return MaskSet(info, cases, tuple(range(1, len(brain.TISSUES) + 1)))


def _image(subject: brain.Subject, index: int, ndim: int) -> images.RawImage:
    rng = np.random.default_rng([SEED, index, ndim])
    points, place = _grid(index, ndim)
    return _stored(np.rint(255 * subject.render(points, rng)).astype(np.uint8), place)


def _mask(subject: brain.Subject, index: int, ndim: int) -> images.RawImage:
    points, place = _grid(index, ndim)
    return _stored(subject.tissue(points), place)


def _stored(pixels: np.ndarray, affine: np.ndarray) -> images.RawImage:
    spacing = tuple(float(s) for s in geometry.spacing_mm(affine))
    axes = "yx" if pixels.ndim == 2 else "xyz"
    return images.RawImage(pixels[..., None], spacing, affine, axes)


def _grid(index: int, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Points `[3, *space]` of a slice, its top row the foremost, or of a volume, and the affine."""
    if ndim == 3:
        low, step = np.array([-78.0, -114.0, -74.0]), 4.0
        lines = [first + step * np.arange(n) for first, n in zip(low, (40, 48, 40), strict=True)]
        points = np.stack(np.meshgrid(*lines, indexing="ij"))
        return points, geometry.scaling(np.full(3, step), low)
    height = np.random.default_rng([SEED, index]).uniform(*_LEVELS_MM)
    x, y = np.arange(-80.0, 80.0, 2.0), np.arange(80.0, -112.0, -2.0)
    points = np.stack(np.broadcast_arrays(x[None], y[:, None], height))
    return points, np.array([[0.0, 2.0, x[0]], [2.0, 0.0, -y[0]], [0.0, 0.0, 1.0]])

"""A set of pairs that is made, not acquired: a brain template and its own deformations."""

import functools

import numpy as np

from medjax.data import brain, geometry, images, splits
from medjax.data.afids import AFIDS_RAS_MM, CITATION, MIDLINE
from medjax.data.info import DatasetInfo
from medjax.data.masks.case import MaskCase, MaskSet
from medjax.data.pair_options import WORLD, PairOptions
from medjax.data.pairs.case import PairSet

SEED = 23
_PLACES = 100  # of the brain, where the deformation is known
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
_TEMPLATE = "template"
_GRIDS = {  # by the axes of an image: its first voxel, the step and the sides, RAS mm
    2: ((0.0, -112.0, -74.0), 2.0, (1, 96, 80)),
    3: ((-78.0, -114.0, -74.0), 4.0, (40, 48, 40)),
}


def brain_pairs(options: PairOptions) -> PairSet:
    """The ICBM-152 template is registered to each of its own deformations, which are known.

    Volumes of 4 mm, or the midsagittal plane of 2 mm with deformations that do not leave it.
    Landmarks are the anatomical fiducials (in the plane, those of the midline), where the
    deformation takes them; 100 other places of the brain tell the error of the field itself.
    """
    ndim = options.ndim
    names = [f"subject_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(names, [0] * len(names), seed=SEED, shares=_SHARES)
    marks = _place_fiducials(ndim)
    places = np.concatenate([marks, _draw_places(ndim)])
    cases = [_case(_TEMPLATE, "train", brain.undeformed(), 0, ndim)]
    moved = {_TEMPLATE: _to_index(places, ndim)}
    for i, (name, split) in enumerate(zip(names, chosen, strict=True)):
        subject = brain.make_subject(SEED, i)
        subject = brain.within_midplane(subject) if ndim == 2 else subject
        cases.append(_case(name, split, subject, i + 1, ndim))
        moved[name] = _to_index(subject.from_template(places.T).T, ndim)
    info = DatasetInfo(
        "brain_pairs",
        subjects=f"synthetic, {len(cases)}",
        structures=brain.TISSUES,
        landmarks=_fiducials(ndim),
        known_places=_PLACES,
        modality="T1-weighted MR, simulated from a template",
        synthetic=True,
        licence="permissive (McGill)",
        citation=f"{brain.CITATION} {CITATION}",
    )
    masks = MaskSet(info, cases, tuple(range(1, len(brain.TISSUES) + 1)))
    moving = {name: [_TEMPLATE] for name in names}
    points = {name: at[: len(marks)] for name, at in moved.items()}
    known = {name: at[len(marks) :] for name, at in moved.items()}
    return PairSet(masks, f"all to {_TEMPLATE}", moving, points, known, WORLD)


def _fiducials(ndim: int) -> tuple[str, ...]:
    return MIDLINE if ndim == 2 else tuple(AFIDS_RAS_MM)


def _place_fiducials(ndim: int) -> np.ndarray:
    """Of the template, `[n, 3]`, RAS mm; of a plane within it."""
    places = np.array([AFIDS_RAS_MM[name] for name in _fiducials(ndim)])
    return places * [0.0, 1.0, 1.0] if ndim == 2 else places


def _case(name: str, split: str, subject: brain.Subject, index: int, ndim: int) -> MaskCase:
    return MaskCase(
        functools.partial(_image, subject, index, ndim),
        functools.partial(_mask, subject, ndim),
        name,
        name,
        name,
        split,
    )


def _image(subject: brain.Subject, index: int, ndim: int) -> images.RawImage:
    rng = np.random.default_rng([SEED, index, ndim])
    values = subject.render(_grid(ndim), rng)
    return _stored(np.rint(255 * values).astype(np.uint8), ndim)


def _mask(subject: brain.Subject, ndim: int) -> images.RawImage:
    return _stored(subject.tissue(_grid(ndim)), ndim)


def _grid(ndim: int) -> np.ndarray:
    """The points of a volume or plane, RAS mm: `[3, *sides]`."""
    low, step, sides = _GRIDS[ndim]
    lines = [first + step * np.arange(n) for first, n in zip(low, sides, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"))


def _stored(values: np.ndarray, ndim: int) -> images.RawImage:
    """Of a plane the front is to the left, and the top above."""
    low, step, _ = _GRIDS[ndim]
    spacing = (step,) * ndim
    if ndim == 2:
        return images.RawImage(values[0].T[::-1, ::-1, None], spacing, axes="yx")
    affine = geometry.scaling(np.full(ndim, step), np.array(low))
    return images.RawImage(values[..., None], spacing, affine, "xyz")


def _draw_places(ndim: int) -> np.ndarray:
    """Places `[n, 3]` of the template's brain, RAS mm."""
    grid = _grid(ndim)
    inside = grid[:, brain.undeformed().tissue(grid) > 0].T
    rng = np.random.default_rng([SEED, ndim])
    return inside[rng.choice(len(inside), _PLACES, replace=False)]


def _to_index(points_mm: np.ndarray, ndim: int) -> np.ndarray:
    """Points `[n, 3]`, RAS mm, in indices of the array that is stored."""
    low, step, sides = _GRIDS[ndim]
    index = (points_mm - np.array(low)) / step
    return (np.array(sides) - 1 - index)[:, :0:-1] if ndim == 2 else index

"""Sets with landmarks that are made, not acquired."""

import functools

import numpy as np

from medjax.data import brain, geometry, hand, images, splits
from medjax.data.afids import AFIDS_RAS_MM, CITATION, MIDLINE, MIRRORED
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import LandmarkCase, LandmarkSet
from medjax.data.options import LandmarkOptions

SEED = 153


def brain_landmarks(options: LandmarkOptions) -> LandmarkSet:
    """The deformed ICBM-152 template with its AFIDs, which move exactly with it.

    Slices through the middle with the ten points that lie there, or whole volumes with all 32.
    """
    names = MIDLINE if options.ndim == 2 else tuple(AFIDS_RAS_MM)
    subjects = [f"subject_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(
        subjects,
        [0] * len(subjects),
        seed=SEED,
        shares={"train": 0.6, "validation": 0.15, "test": 0.25},
    )
    cases = []
    for i, (name, split) in enumerate(zip(subjects, chosen, strict=True)):
        subject = brain.make_subject(SEED, i)
        subject = brain.within_midplane(subject) if options.ndim == 2 else subject
        points = np.array([AFIDS_RAS_MM[n] for n in names])
        points[:, 0] *= options.ndim == 3  # a slice shows x = 0 alone
        moved = subject.from_template(points.T).T
        if options.ndim == 2:
            moved = moved[:, 1:] * [1.0, -1.0]
        render = functools.partial(_render, subject, i, options.ndim)
        cases.append(
            LandmarkCase(
                render,
                name,
                name,
                name,
                split,
                dict(zip(names, moved, strict=True)),
                "RAS" if options.ndim == 3 else "mm",
            )
        )
    info = DatasetInfo(
        "brain_landmarks",
        subjects=f"synthetic, {len(cases)}",
        landmarks=names,
        mirrored=MIRRORED if options.ndim == 3 else (),
        modality="T1-weighted MR, simulated from a template",
        synthetic=True,
        licence="template: permissive (McGill); points: CC BY 4.0",
        citation=f"{brain.CITATION} {CITATION}",
    )
    slices = options.ndim == 2
    return LandmarkSet(info, cases, (96, 112) if slices else (48, 64, 48), 2.0 if slices else 4.0)


def _render(subject: brain.Subject, index: int, ndim: int) -> images.RawImage:
    """The slice x = 0, its top row the highest and its first column the hindmost, or a volume."""
    rng = np.random.default_rng([SEED, index, ndim])
    step = 2.0 if ndim == 2 else 4.0
    if ndim == 2:
        y, z = np.arange(-130.0, 94.0, step), np.arange(104.0, -88.0, -step)
        points = np.stack(np.broadcast_arrays(0.0, y[None], z[:, None]))
        affine = np.array([[0.0, step, y[0]], [step, 0.0, -z[0]], [0.0, 0.0, 1.0]])
    else:
        x, y, z = (low + step * np.arange(n) for low, n in ((-94.0, 48), (-130.0, 64), (-86.0, 48)))
        points = np.stack(np.meshgrid(x, y, z, indexing="ij"))
        affine = geometry.scaling(np.full(3, step), np.array([x[0], y[0], z[0]]))
    pixels = np.rint(255 * subject.render(points, rng)).astype(np.uint8)[..., None]
    return images.RawImage(pixels, (step,) * ndim, affine, "yx" if ndim == 2 else "xyz")


def synthetic_hand(options: LandmarkOptions) -> LandmarkSet:
    """Drawn hands with 37 points and finger tips that look alike."""
    subjects = [f"hand_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(
        subjects,
        [0] * len(subjects),
        seed=SEED,
        shares={"train": 0.5, "validation": 0.2, "test": 0.3},
    )
    names, cases = hand.names(7), []
    for i, (name, split) in enumerate(zip(subjects, chosen, strict=True)):
        image, points = hand.draw(SEED, i)
        read = functools.partial(images.RawImage, image, (1.0, 1.0))
        cases.append(
            LandmarkCase(
                read, name, name, name, split, dict(zip(names, points, strict=True)), "voxel"
            )
        )
    info = DatasetInfo(
        "synthetic_hand",
        subjects=f"synthetic, {len(cases)}",
        landmarks=names,
        modality="drawn",
        synthetic=True,
    )
    return LandmarkSet(info, cases, (hand.SIDE, hand.SIDE), 1.0)

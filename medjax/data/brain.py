"""Synthetic subjects from real anatomy: the ICBM-152 template, deformed.

A subject is a pure function of (seed, index): a smooth random deformation, an affine pose, a
contrast curve, a bias field and noise. Coordinates are RAS millimetres. `to_template` maps a point
of the subject to the template, so an image is sampled through it, and points of the template are
carried to the subject by its inverse: image and points move together.

The template is that of `CITATION`, as the nilearn package carries it.
"""

import dataclasses
import functools
from importlib import resources
from typing import Any

import numpy as np
from scipy import ndimage

CITATION = (
    "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies. "
    "NeuroImage 54:313-327, 2011 (the template)."
)
_GRID_MM = 40.0  # between control points of the deformation and of the bias field
_HALF_MM = np.array([80.0, 110.0, 90.0])  # the box that the control points cover, about...
_CENTRE_MM = np.array([0.0, -18.0, 8.0])  # ...the middle of the brain


TISSUES = ("grey matter", "white matter")


@functools.cache
def template(what: str = "t1") -> tuple[np.ndarray, np.ndarray]:
    """The T1-weighted template, float32 in [0, 1], and its voxel-to-RAS-mm affine `[4, 4]`; `gm`
    and `wm` are the shares of grey and white matter."""
    import nibabel

    name = f"mni_icbm152_{what}_tal_nlin_sym_09a_converted.nii.gz"
    folder = resources.files("nilearn") / "datasets" / "data"  # its modules take seconds to import
    with resources.as_file(folder / name) as path:
        image: Any = nibabel.load(path)
        voxels = np.asarray(image.dataobj, np.float32) / 255.0
    return voxels, image.affine


@dataclasses.dataclass(frozen=True)
class Variation:
    """How much subjects differ: standard deviations, or limits where so named."""

    deformation_mm: float = 3.0
    rotation_degrees: float = 5.0
    translation_mm: float = 4.0
    log_scale: float = 0.05
    contrast_limit: float = 0.5
    bias: float = 0.15
    noise_limit: float = 0.12


@dataclasses.dataclass(frozen=True)
class Subject:
    """One subject; `make_subject` draws it."""

    matrix: np.ndarray  # [3, 3] subject to template, about the middle of the brain
    shift_mm: np.ndarray  # [3]
    control_mm: np.ndarray  # [3, *grid] displacement at the control points
    bias: np.ndarray  # [*grid] logarithm of the gain
    gamma: float
    inverted: float  # 0 T1-like ... 1 inverted contrast
    noise: float

    def to_template(self, points_mm: np.ndarray) -> np.ndarray:
        """Where points of this subject, `[3, *any]`, lie in the template."""
        centre = _CENTRE_MM.reshape((3,) + (1,) * (points_mm.ndim - 1))
        moved = points_mm + np.stack([_spline(c, points_mm) for c in self.control_mm])
        turned = np.tensordot(self.matrix, moved - centre, axes=1)
        return turned + centre + self.shift_mm.reshape(centre.shape)

    def from_template(self, points_mm: np.ndarray, *, tolerance_mm: float = 1e-6) -> np.ndarray:
        """Where points of the template, `[3, *any]`, lie in this subject (fixed-point iteration).

        Raises:
          ArithmeticError: if the deformation folds, so that the iteration does not settle.
        """
        centre = _CENTRE_MM.reshape((3,) + (1,) * (points_mm.ndim - 1))
        back = points_mm - centre - self.shift_mm.reshape(centre.shape)
        target = np.tensordot(np.linalg.inv(self.matrix), back, axes=1) + centre
        place = target
        for _ in range(100):
            last, place = place, target - np.stack([_spline(c, place) for c in self.control_mm])
            if np.abs(place - last).max() < tolerance_mm:
                return place
        raise ArithmeticError("the deformation of this subject folds")

    def render(self, points_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Intensities in [0, 1] at `points_mm` `[3, *any]`, with bias field and noise."""
        tissue = _sample("t1", self.to_template(points_mm))
        tone = tissue**self.gamma
        tone = np.where(tissue > 0.05, (1 - self.inverted) * tone + self.inverted * (1 - tone), 0)
        gain = np.exp(_spline(self.bias, points_mm))
        noisy = np.abs(tone * gain + self.noise * rng.standard_normal(tone.shape))
        return np.clip(noisy, 0.0, 1.0).astype(np.float32)

    def tissue(self, points_mm: np.ndarray) -> np.ndarray:
        """Which of `TISSUES` fills most of each of the points `[3, *any]`: 1, 2, ...; 0 where none
        fills a half."""
        where = self.to_template(points_mm)
        shares = np.stack([_sample(name, where) for name in ("gm", "wm")])
        return np.where(shares.max(0) > 0.5, shares.argmax(0) + 1, 0).astype(np.uint8)


def _sample(what: str, points_mm: np.ndarray) -> np.ndarray:
    """A map of the template at points of it, `[3, *any]`; 0 outside."""
    voxels, affine = template(what)
    inverse = np.linalg.inv(affine)
    shift = inverse[:3, 3].reshape((3,) + (1,) * (points_mm.ndim - 1))
    index = np.tensordot(inverse[:3, :3], points_mm, axes=1) + shift
    return ndimage.map_coordinates(voxels, index, order=1)


def make_subject(seed: int, index: int, *, variation: Variation | None = None) -> Subject:
    """Subject number `index` of the family `seed`."""
    variation = variation or Variation()
    rng = np.random.default_rng([seed, index])
    grid = tuple((2 * _HALF_MM / _GRID_MM).astype(int) + 2)
    angles = np.deg2rad(rng.normal(0, variation.rotation_degrees, 3))
    scale = np.exp(rng.normal(0, variation.log_scale, 3))
    return Subject(
        matrix=_rotation(angles) @ np.diag(scale),
        shift_mm=rng.normal(0, variation.translation_mm, 3),
        control_mm=rng.normal(0, variation.deformation_mm, (3, *grid)),
        bias=rng.normal(0, variation.bias, grid),
        gamma=float(np.exp(rng.uniform(-variation.contrast_limit, variation.contrast_limit))),
        inverted=float(rng.uniform(0, 1) > 0.5) * float(rng.uniform(0.0, 1.0)),
        noise=float(rng.uniform(0.02, variation.noise_limit)),
    )


def undeformed() -> Subject:
    """The template itself, as a subject."""
    grid = tuple((2 * _HALF_MM / _GRID_MM).astype(int) + 2)
    return Subject(np.eye(3), np.zeros(3), np.zeros((3, *grid)), np.zeros(grid), 1.0, 0.0, 0.0)


def within_midplane(subject: Subject) -> Subject:
    """The same subject, altered so that its plane x = 0 shows the template's plane x = 0.

    What leads out of the plane is left out: turns about y and z, shifts and displacements along x.
    """
    matrix = subject.matrix.copy()
    matrix[0, 1:] = matrix[1:, 0] = 0.0
    keep = np.array([0.0, 1.0, 1.0])
    return dataclasses.replace(
        subject,
        matrix=matrix,
        shift_mm=subject.shift_mm * keep,
        control_mm=subject.control_mm * keep[:, None, None, None],
    )


def _spline(control: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """The cubic spline through `control` at `points_mm` `[3, *any]`; constant beyond the box."""
    first = (_CENTRE_MM - _HALF_MM)[:, None]
    index = (points_mm.reshape(3, -1) - first) / _GRID_MM
    shift = ndimage.map_coordinates(control, index, order=3, mode="nearest")
    return shift.reshape(points_mm.shape[1:])


def _rotation(radians: np.ndarray) -> np.ndarray:
    """The product of the rotations about the three axes."""
    turn = np.eye(3)
    for (a, b), angle in zip([(1, 2), (2, 0), (0, 1)], radians, strict=True):
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        turn = step @ turn
    return turn

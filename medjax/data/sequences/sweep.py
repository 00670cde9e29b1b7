"""Sweeps through the deformed brain template, whose standard planes are to be found: made, not
acquired.

A subject is a pure function of (seed, index): coronal frames from front to back or back to front,
at varying speed, which may turn round, with a tilt that wanders. A frame shows a standard plane if
it passes within `NEAR_MM` of its fiducial. Single frames may be shadowed or blurred.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medjax.data import brain
from medjax.data.afids import AFIDS_RAS_MM

PLANES = {"genu": "genu of CC", "AC": "AC", "PC": "PC", "culmen": "culmen"}
SIDE, PIXEL_MM, NEAR_MM = 48, 4.0, 2.0
_FRONT_MM, _BACK_MM = 60.0, -75.0


class Sweep(NamedTuple):
    """Where the frames of a sweep lie, before they are drawn.

    Attributes:
      y_mm: of each frame's middle, `[time]`.
      slope: of y along x and along z, `[time, 2]`.
      marks: the frames that show each plane.
    """

    subject: brain.Subject
    y_mm: np.ndarray
    slope: np.ndarray
    marks: dict[str, list[int]]


def make(rng: np.random.Generator, seed: int, index: int) -> Sweep:
    """Sweep `index` of family `seed`."""
    subject = brain.make_subject(seed, index)
    fiducials = np.array([AFIDS_RAS_MM[name] for name in PLANES.values()])
    points = subject.from_template(fiducials.T)  # [3, plane]
    y_mm = _path(rng)
    slope = np.tan(np.deg2rad(_wander(rng, len(y_mm), 5.0)))
    gap = points[1] - (y_mm[:, None] + slope @ points[[0, 2]])  # [time, plane]
    away = np.abs(gap) / np.sqrt(1 + (slope**2).sum(1, keepdims=True))
    marks = {
        name: np.flatnonzero((away[:, j] <= NEAR_MM) | (away[:, j] == away[:, j].min())).tolist()
        for j, name in enumerate(PLANES)
    }
    return Sweep(subject, y_mm, slope, marks)


def draw(seed: int, index: int) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Sweep `index` of family `seed`: frames `[time, SIDE, SIDE, 1]` uint8, and named frames."""
    rng = np.random.default_rng([seed, index])
    made = make(rng, seed, index)
    offset = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    z, x = np.meshgrid(5.0 - offset, offset, indexing="ij")  # rows run downwards
    frames = []
    for y, (along_x, along_z) in zip(made.y_mm, made.slope, strict=True):
        plane = np.stack([x, y + along_x * x + along_z * z, z])
        frames.append(_spoil(made.subject.render(plane, rng), rng))
    pixels = np.rint(255 * np.stack(frames)).astype(np.uint8)[..., None]
    return pixels, made.marks


def _path(rng: np.random.Generator) -> np.ndarray:
    """Where each frame lies between back and front, mm."""
    speed = np.exp(_wander(rng, 400, 0.4)[:, 0]) * rng.uniform(3.5, 5.0)
    if rng.random() < 0.4:  # turns round for a while
        start = int(rng.integers(6, 22))
        speed[start : start + int(rng.integers(3, 7))] *= -1
    way = np.cumsum(speed)
    y = _FRONT_MM + rng.uniform(-8, 8) - way[: int(np.argmax(way > _FRONT_MM - _BACK_MM))]
    return y[::-1] if rng.random() < 0.5 else y


def _wander(rng: np.random.Generator, count: int, sd: float) -> np.ndarray:
    """Smooth random curves `[count, 2]`."""
    smooth = ndimage.gaussian_filter1d(rng.standard_normal((count + 40, 2)), 6, axis=0)[20:-20]
    return sd * smooth / 0.217  # the standard deviation that such smoothing leaves


def _spoil(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Now and then a shadow from above, or a blur."""
    if rng.random() < 0.25:
        middle, width = rng.uniform(10, SIDE - 10), rng.uniform(5, 12)
        image = image * (1 - 0.9 * np.exp(-(((np.arange(SIDE) - middle) / width) ** 2)))
    if rng.random() < 0.25:
        image = ndimage.gaussian_filter(image, rng.uniform(0.5, 1.5))
    return image

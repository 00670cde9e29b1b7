"""A beating heart in short-axis slices: made, not acquired.

A subject is a pure function of (seed, index). Volume follows a curve of its own (ejection, fast
filling, diastasis, atrial kick); the wall keeps its area, so that it thickens as the cavity
shrinks. The slice moves through a ventricle that narrows towards its tip, so that the visible area
is not largest when the volume is. ED and ES are the frames of largest and smallest volume, exactly.
"""

import dataclasses

import numpy as np

SIDE, PIXEL_MM = 48, 2.0


@dataclasses.dataclass(frozen=True)
class Heart:
    """One subject; `make` draws it. Lengths in mm, times as shares of the cycle from ED."""

    systole: float  # when the volume is smallest
    ejected: float  # share of the volume
    fast: float  # speed of fast filling, a cycle
    kick: float  # share of the stroke that the atrium adds
    radius: float  # of the cavity at ED
    wall: float  # thickness there
    narrowing: float  # share of the radius that through-plane motion hides
    delay: float  # of that motion
    squeeze: float  # eccentricity
    angle: float
    centre: np.ndarray  # [2]
    papillary: np.ndarray  # [2] angles
    tones: np.ndarray  # blood, wall, lung, fat
    inflow: float  # how much brighter blood is while it flows
    noise: float
    bias: np.ndarray  # [3]


def make(rng: np.random.Generator) -> Heart:
    """Draws a subject."""
    tones = np.array([0.75, 0.35, 0.1, 0.55]) + rng.normal(0, 0.05, 4)
    return Heart(
        systole=rng.uniform(0.28, 0.45),
        ejected=rng.uniform(0.35, 0.7),
        fast=rng.uniform(5, 12),
        kick=rng.uniform(0.1, 0.3),
        radius=rng.uniform(17, 24),
        wall=rng.uniform(7, 11),
        narrowing=rng.uniform(0.0, 0.3),
        delay=rng.uniform(-0.2, 0.2),
        squeeze=rng.uniform(0.85, 1.0),
        angle=rng.uniform(0, np.pi),
        centre=rng.normal(0, 4, 2),
        papillary=np.array([-0.6, 2.2]) + rng.normal(0, 0.2, 2),
        tones=tones,
        inflow=rng.uniform(-0.15, 0.15),
        noise=rng.uniform(0.06, 0.16),
        bias=rng.normal(0, 0.1, 3),
    )


def volume(heart: Heart, phase: np.ndarray) -> np.ndarray:
    """The volume at phases of the cycle, from 0 at ED; 1 at ED, 1 - ejected at ES."""
    s = heart.systole
    p = np.mod(phase, 1.0)
    ejecting = 0.5 * (1 + np.cos(np.pi * p / s))
    late = (p - s) / (1 - s)
    filling = (1 - np.exp(-heart.fast * late)) / (1 - np.exp(-heart.fast))
    atrial = np.clip((late - 0.75) / 0.25, 0.0, 1.0) ** 2
    full = (1 - heart.kick) * filling + heart.kick * atrial
    return 1 - heart.ejected * (1 - np.where(p < s, ejecting, full))


def beat(heart: Heart, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, list[int]]]:
    """The phase of each frame of a cycle, from a random one on, and the frames ED and ES."""
    count = int(rng.integers(16, 29))
    phase = (np.arange(count) + rng.uniform(0, count)) / count
    curve = volume(heart, phase)
    return phase, {"ED": [int(curve.argmax())], "ES": [int(curve.argmin())]}


def draw(seed: int, index: int) -> tuple[np.ndarray, dict[str, list[int]], float]:
    """One cycle of subject `index` of family `seed`, begun at a random phase.

    Returns:
      Frames `[time, SIDE, SIDE, 1]` uint8; the frames ED and ES; milliseconds a frame.
    """
    rng = np.random.default_rng([seed, index])
    heart = make(rng)
    phase, marks = beat(heart, rng)
    frames = np.stack([_frame(heart, float(p), rng) for p in phase])
    return frames, marks, rng.uniform(600, 1100) / len(phase)


def _frame(heart: Heart, phase: float, rng: np.random.Generator) -> np.ndarray:
    now = float(volume(heart, np.array(phase)))
    later = float(volume(heart, np.array(phase - heart.delay)))
    # A cylinder's radius goes with the root of its volume, and the wall keeps its area; nearer the
    # tip the whole slice is smaller.
    taper = 1 - heart.narrowing * (1 - later) / heart.ejected
    area = (heart.radius + heart.wall) ** 2 - heart.radius**2
    inner = taper * heart.radius * np.sqrt(now)
    outer = taper * np.sqrt(heart.radius**2 * now + area)
    offset = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    y, x = np.meshgrid(offset, offset, indexing="ij")
    dx, dy = x - heart.centre[0], y - heart.centre[1]
    u = np.cos(heart.angle) * dx + np.sin(heart.angle) * dy
    v = (np.cos(heart.angle) * dy - np.sin(heart.angle) * dx) / heart.squeeze
    away = np.hypot(u, v)
    blood, wall, lung, fat = heart.tones
    flow = float(volume(heart, np.array(phase + 0.02))) - now
    blood = blood * (1 + heart.inflow * np.tanh(10 * flow))
    image = np.where(np.hypot(dx, dy) < 46, fat, lung)
    right = np.hypot(u + 0.9 * outer, v) < 0.9 * outer  # the right ventricle, a crescent
    image = np.where(right, blood, image)
    image = _mix(image, wall, away - outer)
    image = _mix(image, blood, away - inner)
    for angle in heart.papillary:
        at = 0.6 * inner * np.array([np.cos(angle), np.sin(angle)])
        image = _mix(image, wall, np.hypot(u - at[0], v - at[1]) - 0.16 * inner)
    tilt = heart.bias @ np.stack([x / 48, y / 48, x * y / 48**2]).reshape(3, -1)
    image = image * np.exp(tilt.reshape(x.shape)) + heart.noise * rng.standard_normal(x.shape)
    return np.rint(255 * np.clip(np.abs(image), 0, 1)).astype(np.uint8)[..., None]


def _mix(image: np.ndarray, tone: float, outside_mm: np.ndarray) -> np.ndarray:
    """The tone where `outside_mm` is negative, the edge a pixel wide."""
    share = np.clip(0.5 - outside_mm / PIXEL_MM, 0.0, 1.0)
    return share * tone + (1 - share) * image

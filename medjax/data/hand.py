"""A drawn hand whose finger tips look alike: what local appearance alone cannot tell apart.

Payer et al. 2016 name the fingers of hand X-rays as the reason for their spatial part. Here five
fingers have the same length, width and brightness, and the hand turns further than the angle
between two of them; only where a finger stands among the others says which it is.
"""

import numpy as np

SIDE = 96
_FAN_DEGREES = 18.0  # between two fingers; the hand turns by up to twice that


def names(joints: int) -> tuple[str, ...]:
    """`joints` points a finger, from its root to its tip, and two of the wrist."""
    fingers = ("thumb", "index finger", "middle finger", "ring finger", "little finger")
    return (
        *(f"{f} {'tip' if j == joints - 1 else j + 1}" for f in fingers for j in range(joints)),
        "wrist left",
        "wrist right",
    )


def draw(
    seed: int, index: int, *, joints: int = 7, side: int = SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Hand number `index`: the image `[side, side, 1]`, uint8, and its points (row, column)."""
    rng = np.random.default_rng([seed, index, joints])
    unit = side / 96.0
    turn = np.deg2rad(rng.uniform(-2 * _FAN_DEGREES, 2 * _FAN_DEGREES))
    fan = np.deg2rad(_FAN_DEGREES * np.arange(-2, 3) + rng.normal(0, 2.0, 5)) + turn
    root, tip = 16.0 * unit, rng.uniform(38.0, 42.0) * unit
    wrist = np.array([side * 0.68, side * 0.5]) + rng.uniform(-7, 7, 2) * unit
    along = np.linspace(root, tip, joints)
    fingers = wrist + np.stack([-np.cos(fan)[:, None] * along, np.sin(fan)[:, None] * along], -1)
    across = np.array([np.sin(turn), np.cos(turn)]) * 9.0 * unit
    points = np.concatenate([fingers.reshape(-1, 2), [wrist - across, wrist + across]])
    where = np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).astype(float)
    image = np.zeros((side, side))
    for start, end in [*((f[0], f[-1]) for f in fingers), (wrist - across, wrist + across)]:
        image = np.maximum(image, 0.6 * _bone(where, start, end, 2.2 * unit))
    for point in points:
        image = np.maximum(image, _bone(where, point, point, 1.4 * unit))
    noisy = 0.15 + 0.7 * image + rng.normal(0, 0.06, image.shape)
    return np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8)[..., None], points


def _bone(where: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    """A soft line from `start` to `end`."""
    axis = end - start
    length = max(float(axis @ axis), 1e-9)
    t = np.clip(((where - start) @ axis) / length, 0, 1)
    away = np.linalg.norm(where - start - t[..., None] * axis, axis=-1)
    return np.exp(-((away / width) ** 2))

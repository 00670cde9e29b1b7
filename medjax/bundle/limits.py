"""What settings that a stranger wrote may ask for."""

from typing import Any

import numpy as np

from medjax.errors import UserError
from medjax.outputs.base import ModelSpec

_LARGEST_QUANTITY = 1e30
_LARGEST_SIDE, _LARGEST_IMAGE = 100_000, 2**28  # of whole-number settings; values of one example


def check_sizes(predictor: Any, trained: ModelSpec, where: str) -> None:
    """Nothing that a stranger wrote may ask for more than a machine has."""
    for part in (predictor, trained):
        for name, value in vars(part).items():
            if isinstance(value, int) and not 0 <= value <= _LARGEST_SIDE:
                raise UserError(f"{where}: {name}={value} is out of range")
    shape, scaling = trained.image_shape, trained.preprocessing
    if not shape or min(shape) < 1 or np.prod(shape, dtype=float) > _LARGEST_IMAGE:
        raise UserError(f"{where}: image_shape {shape} is out of range")
    if (
        len(scaling.mean) != shape[-1]
        or len(scaling.sd) != shape[-1]
        or (not scaling.low < scaling.high or min(scaling.sd) <= 0)
    ):
        raise UserError(f"{where}: preprocessing does not fit images of {shape[-1]} channels")
    _check_targets(trained, where)
    if trained.info.pose:
        _check_pose(trained.info.pose, len(shape) - 1, where)
    if len(trained.window) not in (0, 2) or list(trained.window) != sorted(set(trained.window)):
        raise UserError(f"{where}: window is no range of intensities")
    if getattr(predictor, "levels", 1) > 10 or not 1 <= trained.seeds <= 1000:
        raise UserError(f"{where}: levels or seeds out of range")


def _check_targets(trained: ModelSpec, where: str) -> None:
    """One kind of label, and a scale of each quantity that computing with it survives."""
    info, scale = trained.info, np.array(trained.quantity_scale).reshape(-1, 2)
    if sum(map(bool, (info.classes, info.findings, info.quantities))) > 1:
        raise UserError(f"{where}: has more than one of classes, findings and quantities")
    if (
        len(scale) != len(info.quantities)
        or (scale[:, 1] < 1 / _LARGEST_QUANTITY).any()
        or (np.abs(scale) > _LARGEST_QUANTITY).any()
    ):
        raise UserError(f"{where}: quantity_scale does not fit the quantities")


def _check_pose(pose: Any, ndim: int, where: str) -> None:
    """Its places must span a grid."""
    places = [place for _, place in pose]
    if (
        len(dict(pose)) < max(len(pose), ndim)
        or any(len(place) != ndim for place in places)
        or np.ptp(places, axis=0).max() <= 0
        or np.abs(places).max() > _LARGEST_SIDE
    ):
        raise UserError(f"{where}: pose is none of {ndim} axes")

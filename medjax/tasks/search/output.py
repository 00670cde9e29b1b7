"""What searches answer with: landmarks, each the median of all searches for it."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from medjax.data import geometry
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.consensus import median
from medjax.outputs.base import (
    Description,
    Input,
    ModelSpec,
    Predicted,
    PreparedImage,
    image_input,
)
from medjax.outputs.landmarks import LANDMARKS

_OFF = 0.02  # of the size of voxels, which files round


def describe(info: DatasetInfo) -> Description:
    """What agents do."""
    return LANDMARKS.describe(info)._replace(task="finds landmarks by searching agents")


def inputs(spec: ModelSpec) -> list[Input]:
    """The image, and the part of it that it fills."""
    text = (
        "first voxel of what each shows, and the one beyond the last, int32, any number of "
        "[2, axes]"
    )
    box = Input("box", "box", f"b, 2, {len(spec.image_shape) - 1}", "int32", text)
    return [image_input(spec), box]


def read(path: Path, predictor: Any, spec: ModelSpec, **given: Any) -> list[PreparedImage]:
    """The images of a file, on the grid of the training; errors as of `check_voxels`."""
    images = LANDMARKS.prepare.read(path, predictor, spec, **given)
    return [check_voxels(image, predictor) for image in images]


def from_array(image: Any, predictor: Any, spec: ModelSpec, **given: Any) -> PreparedImage:
    """The same of an array."""
    return check_voxels(LANDMARKS.prepare.from_array(image, predictor, spec, **given), predictor)


def check_voxels(prepared: PreparedImage, predictor: Any) -> PreparedImage:
    """The image; raises UserError where its voxels are not of the size that agents step in."""
    here_mm = float(geometry.spacing_mm(prepared.targets["to_world"]).mean())
    if prepared.targets["known"] and abs(here_mm / predictor.voxel_mm - 1) > _OFF:
        raise UserError(
            f"{prepared.case_id}: voxels of {here_mm:.3g} mm on the grid of the training, where "
            f"they had {predictor.voxel_mm:.3g} mm, which agents step in: resample it, or train "
            "with `grid_mm`, by which every volume is brought to one size of voxels"
        )
    return prepared


def median_of_searches(predicted: Predicted, spec: ModelSpec) -> Predicted:
    """One answer of all seeds and starts; see `ops.consensus.median`."""
    places = jnp.moveaxis(predicted["points"], 0, 2)  # [n, start, seed, landmark, ndim]
    places = jnp.moveaxis(places, 3, 1)  # [n, landmark, start, seed, ndim]
    flat = places.reshape(*places.shape[:2], -1, places.shape[-1])
    return jax.vmap(jax.vmap(median))(flat)._asdict()


SEARCHED = LANDMARKS._replace(
    describe=describe,
    prepare=LANDMARKS.prepare._replace(inputs=inputs, read=read, from_array=from_array),
    ensemble=median_of_searches,
)

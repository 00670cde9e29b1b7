"""What searches answer with: landmarks, each the median of all searches for it."""

import jax
import jax.numpy as jnp

from medjax.data.info import DatasetInfo
from medjax.ops.consensus import median
from medjax.outputs.base import Description, Input, ModelSpec, Predicted, image_input
from medjax.outputs.landmarks import LANDMARKS


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


def median_of_searches(predicted: Predicted, spec: ModelSpec) -> Predicted:
    """One answer of all seeds and starts; see `ops.consensus.median`."""
    places = jnp.moveaxis(predicted["points"], 0, 2)  # [n, start, seed, landmark, ndim]
    places = jnp.moveaxis(places, 3, 1)  # [n, landmark, start, seed, ndim]
    flat = places.reshape(*places.shape[:2], -1, places.shape[-1])
    return jax.vmap(jax.vmap(median))(flat)._asdict()


SEARCHED = LANDMARKS._replace(
    describe=describe,
    prepare=LANDMARKS.prepare._replace(inputs=inputs),
    ensemble=median_of_searches,
)

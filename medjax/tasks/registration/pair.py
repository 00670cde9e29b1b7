"""One pair of images, registered by itself."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import runtime
from medjax.config import configure
from medjax.data import images
from medjax.data.dense_transform import DenseTransform
from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.pair_options import INITIAL
from medjax.errors import UserError, unknown
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import NO_HINTS, ImageHints, ModelSpec, split_of
from medjax.outputs.fields import serve
from medjax.outputs.fields.registered_pair import make_transform
from medjax.outputs.preparing import wrap_pixels
from medjax.tasks.registration.method import OPTIMISE, AlignmentOptions
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.registration.task import NO_WEIGHTS

PREPROCESSING = Preprocessing(0.0, 255.0, (0.0, 0.0), (1.0, 1.0))


def register_pair(
    fixed: RawImage,
    moving: RawImage,
    *,
    options: AlignmentOptions,
    initial: str = "",
    hints: ImageHints = NO_HINTS,
) -> DenseTransform:
    """The transform from places of the fixed image to those of the moving one, found by gradients;
    pairs of one shape share a program.

    Args:
      options: with `method=optimise`.
      initial: how the two lie at first, as of `PairOptions`.

    Raises:
      UserError: if the two do not go together.
    """
    if options.is_trained:
        raise UserError("`method=network`: of trained networks; one pair is `method=optimise`")
    ndim = fixed.pixels.ndim - 1
    info = DatasetInfo("pair", pairing="one", initial=initial)
    spec = ModelSpec(info, PREPROCESSING, (*(1,) * ndim, 2), "uint8")
    ready = serve.prepare_pair([fixed, moving], spec, case_id="the moving image", hints=hints)
    split = split_of([ready])
    row = {name: values[0] for name, values in split.targets.items()}
    batch = split.batch([0], ["initial", "fixed_voxel_mm"])
    answer = _compile(options, spec)(*NO_WEIGHTS, batch)
    displacement, matrix = (np.asarray(answer[name][0]) for name in ("displacement", "matrix"))
    return make_transform(displacement, matrix, row, split)


def register_images(
    fixed: str | Path | np.ndarray,
    moving: str | Path | np.ndarray,
    *,
    fixed_affine: np.ndarray | None = None,
    moving_affine: np.ndarray | None = None,
    initial: str = "",
    cache_dir: str | Path = "~/.cache/medjax",
    **settings: Any,
) -> DenseTransform:
    """As `register_pair`, of files, or of arrays `[*space]`.

    Args:
      fixed_affine, moving_affine: of arrays, from voxels `[i, j, k]` to RAS mm.
      cache_dir: of compiled programs, so that images of one shape wait for none a second time.
      settings: of `AlignmentOptions`.

    Raises:
      UserError: if the two do not go together, or a setting is not known.
    """
    known = [f.name for f in dataclasses.fields(AlignmentOptions)]
    odd = next((name for name in settings if name not in known), None)
    if odd is not None:
        raise unknown(
            "setting", odd, [*known, "initial", "fixed_affine", "moving_affine", "cache_dir"]
        )
    paths = [Path(x).expanduser().resolve() for x in (fixed, moving) if isinstance(x, (str, Path))]
    if len(paths) == 2 and paths[0] == paths[1]:
        raise UserError(f"{fixed}: is both the fixed and the moving image; name two")
    options = configure(AlignmentOptions, **{"method": OPTIMISE, **settings})
    if initial not in ("", *INITIAL):
        raise unknown("value of `initial`", initial, INITIAL)
    runtime.setup(Path(cache_dir).expanduser())
    pair = (
        _open_image(fixed, fixed_affine, side="fixed"),
        _open_image(moving, moving_affine, side="moving"),
    )
    return register_pair(*pair, options=options, initial=initial)


def _open_image(
    image: str | Path | np.ndarray, affine: np.ndarray | None, *, side: str
) -> RawImage:
    if isinstance(image, (str, Path)):
        if affine is not None:
            raise UserError(f"`{side}_affine`: {image} has its own; leave it out")
        return images.read(Path(image).expanduser(), limit_bytes=images.LIMIT_BYTES)
    array = np.asarray(image)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "biuf":
        raise UserError(
            f"`{side}`: an array of {array.dtype} and shape {list(array.shape)}; give numbers "
            "[rows, columns] or [i, j, k]"
        )
    world = None if affine is None else np.asarray(affine, float)
    if world is not None and world.shape != (array.ndim + 1,) * 2:
        raise UserError(
            f"`{side}_affine`: has the shape {list(world.shape)}; one of an array with "
            f"{array.ndim} axes has {[array.ndim + 1] * 2}"
        )
    values = array.astype(np.uint8) if array.dtype.kind == "b" else array
    return wrap_pixels(values[..., None], world)


@functools.lru_cache(maxsize=16)
def _compile(options: AlignmentOptions, spec: ModelSpec) -> Callable[..., Any]:
    return jax.jit(RegistrationPredictor(alignment=options).make_task(spec).predict)

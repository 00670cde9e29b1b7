"""New images made ready for a network, one a file, whatever it answers with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data import images, series, walk
from medjax.data.masks import channels
from medjax.errors import UserError
from medjax.outputs.base import (
    NO_HINTS,
    ImageHints,
    ModelSpec,
    Preparation,
    PreparedImage,
    image_input,
)


def prepare_images(
    prepare: Callable[..., PreparedImage],
    *,
    from_array: Callable[..., PreparedImage] | None = None,
    with_channels: bool = False,
) -> Preparation:
    """How images and volumes are made ready, one a file.

    Args:
      prepare: `prepare(raw_image, predictor, spec, case_id=, hints=)`.
      from_array: as of `Preparation`; None: an array is prepared as a file would be.
      with_channels: channels may stand in files of their own, or along a further axis.
    """

    def read(
        path: Path, predictor: Any, spec: ModelSpec, *, case_id: str, hints: ImageHints
    ) -> list[PreparedImage]:
        of_file: dict[str, Any] = {"limit_bytes": hints.limit_bytes, "series": hints.series}
        raw_image = (
            channels.read_as_trained(path, count=spec.image_shape[-1], **of_file)
            if with_channels
            else images.read(path, **of_file)
        )
        return [prepare(raw_image, predictor, spec, case_id=case_id, hints=hints)]

    def as_file(
        image: np.ndarray,
        predictor: Any,
        spec: ModelSpec,
        *,
        hints: ImageHints = NO_HINTS,
        affine: np.ndarray | None = None,
    ) -> PreparedImage:
        raw_image = _raw_of_array(image, spec, affine)
        return prepare(raw_image, predictor, spec, case_id="image", hints=hints)

    return Preparation(
        inputs=lambda spec: [image_input(spec)],
        list_files=list_without_channels if with_channels else list_images,
        suffixes=images.SUFFIXES,
        noun="images",
        read=read,
        from_array=from_array or as_file,
    )


def list_images(path: Path, spec: ModelSpec) -> walk.Walk:
    """The images below a folder; for a network of volumes, DICOM slices are one in their folder."""
    files, left_out = walk.find(path, images.is_image)
    volumes = len(spec.image_shape) == 4
    return walk.Walk(series.fold(files, images.is_dicom) if volumes else files, left_out)


def list_without_channels(path: Path, spec: ModelSpec) -> walk.Walk:
    """The same without files of further channels, which are read with those of the first."""
    files, left_out = list_images(path, spec)
    return walk.Walk(channels.leave_first(files, count=spec.image_shape[-1]), left_out)


def fit_channels(
    raw_image: images.RawImage, spec: ModelSpec, hints: ImageHints, *, case_id: str
) -> images.RawImage:
    """The image in the channels of the training; raises UserError if it has other ones or axes."""
    want = spec.image_shape
    pixels = images.match_channels(
        raw_image.pixels, hints.channels or spec.channels, count=want[-1]
    )
    if pixels.ndim != len(want) or pixels.shape[-1] != want[-1]:
        raise UserError(
            f"{case_id}: has {pixels.ndim - 1} axes and {pixels.shape[-1]} channels, the images of "
            f"the training had {len(want) - 1} and {want[-1]}: convert it"
        )
    return raw_image._replace(pixels=pixels)


def _raw_of_array(image: np.ndarray, spec: ModelSpec, affine: np.ndarray | None) -> images.RawImage:
    """An image `[*space, channel]`, or of one channel `[*space]`, as a file would have it; `affine`
    is that of a volume `[i, j, k]`, from voxels to RAS mm."""
    return wrap_pixels(image if image.ndim == len(spec.image_shape) else image[..., None], affine)


def wrap_pixels(pixels: np.ndarray, affine: np.ndarray | None) -> images.RawImage:
    """Pixels `[*space, channel]` in memory as a file would have them; `affine` is that of a volume
    `[i, j, k]`, from voxels to RAS mm."""
    axes = "yx" if pixels.ndim == 3 else "zyx" if affine is None else "xyz"
    return images.RawImage(pixels, affine=affine, axes=axes)

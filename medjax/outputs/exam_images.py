"""Exam images made ready for a network, whatever it says of them."""

from typing import Protocol

import numpy as np

from medjax.data import exams, geometry, images
from medjax.errors import UserError
from medjax.outputs.base import NO_HINTS, ImageHints, ModelSpec, PreparedImage


class ImageFit(Protocol):
    """How a predictor of exams takes images of other sizes.

    Attributes:
      image_size, fit: as of `DataOptions`, of the training; 0: images have to fit.
    """

    image_size: int
    fit: str


def prepare(
    raw_image: images.RawImage,
    predictor: ImageFit,
    spec: ModelSpec,
    *,
    case_id: str,
    hints: ImageHints,
) -> PreparedImage:
    """An image as the network takes it; raises UserError if it does not fit."""
    raw_image = raw_image._replace(
        pixels=images.match_channels(
            raw_image.pixels, hints.channels or spec.channels, count=spec.image_shape[-1]
        )
    )
    if spec.info.mixed and raw_image.pixels.dtype.kind in "iu":
        raw_image = raw_image._replace(pixels=raw_image.pixels.astype(spec.image_dtype))
    pixels, want = raw_image.pixels, spec.image_shape
    if pixels.ndim != len(want) or pixels.shape[-1] != want[-1]:
        raise UserError(
            f"{case_id}: {_kind(pixels.shape)}; the model is for {_kind(want)}: "
            f"{_mend(pixels.shape, want)}"
        )
    integer_type = spec.image_dtype if _is_integral(raw_image, spec.image_dtype) else ""
    if not integer_type and str(pixels.dtype) != spec.image_dtype:
        scale = spec.preprocessing
        raise UserError(
            f"{case_id}: its pixels are {pixels.dtype}, those of the training were "
            f"{spec.image_dtype}, most of them from {scale.low:g} to {scale.high:g}: convert it"
        )
    info = spec.info
    pixels = exams.arrange(
        raw_image,
        exams.Arrangement(
            want[:-1] if predictor.image_size or info.resampled or hints.resize else (),
            info.spacing_mm if info.resampled else None,
            bool(info.orientation),
            predictor.fit,
            integer_type,
        ),
        origin=case_id,
    )
    if pixels.shape != want:
        raise UserError(
            f"{case_id}: has the shape {pixels.shape[:-1]}, the images of the training had "
            f"{want[:-1]}: crop it to what they show, or give `resize`"
        )
    return PreparedImage(pixels, case_id)


def _is_integral(raw_image: images.RawImage, wanted: str) -> bool:
    """Whether float32 values, as of volumes and slices of NIfTI, are of a type of whole numbers;
    a picture's are not, which may have been scaled to 0 and 1."""
    pixels = raw_image.pixels
    is_scan = pixels.ndim == 4 or raw_image.axes[0] == "x"
    if not is_scan or pixels.dtype != np.float32 or np.dtype(wanted).kind not in "iu":
        return False
    type_range = np.iinfo(wanted)
    return bool(
        (pixels == np.rint(pixels)).all()
        and type_range.min <= pixels.min()
        and pixels.max() <= type_range.max
    )


def from_array(
    image: np.ndarray,
    predictor: ImageFit,
    spec: ModelSpec,
    *,
    hints: ImageHints = NO_HINTS,
    affine: np.ndarray | None = None,
) -> PreparedImage:
    """An image `[*space, channel]`, or of one channel `[*space]`.

    Args:
      affine: of a volume `[i, j, k]`, from voxels to RAS mm; None: its axes are those of the
        training.
    """
    pixels = image if image.ndim == len(spec.image_shape) else image[..., None]
    if pixels.dtype == np.float64:  # as sets from arrays are stored
        pixels = pixels.astype(np.float32)
    spacing = (hints.spacing_mm,) * (pixels.ndim - 1) if hints.spacing_mm else None
    if affine is not None:
        spacing = tuple(geometry.spacing_mm(affine).tolist())
    raw_image = images.RawImage(pixels, spacing, affine)
    return prepare(raw_image, predictor, spec, case_id="image", hints=hints)


def _mend(shape: tuple[int, ...], want: tuple[int, ...]) -> str:
    if len(shape) == len(want) and (shape[-1], want[-1]) == (3, 1):
        return "convert it, or give `channels=gray`"
    many = len(shape) > len(want) or shape[-1] > 4
    return "give one image at a time, as it was trained on" if many else "convert it"


def _kind(shape: tuple[int, ...]) -> str:
    if shape[-1] > 4 and len(shape) < 5:
        return f"an array of {' x '.join(map(str, shape))}"
    return (
        f"{'an image' if len(shape) == 3 else 'a volume'} of {shape[-1]} channel"
        f"{'s' if shape[-1] > 1 else ''}"
    )

"""Images with masks, each of its own size, volumes in one orientation and of one size of voxel."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from medjax.data import exams, geometry, images, placing, subjects, volumes
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.found import Layout, RawImage, known_spacing
from medjax.data.masks import SETS, channels
from medjax.data.masks.case import MaskCase, MaskSet, numbered
from medjax.data.masks.instances import depth_map, numbered_things
from medjax.data.masks.one_grid import check_one_grid, turned_like
from medjax.data.options import MaskOptions
from medjax.errors import UserError

_LOWEST_OF_MR = -200  # values below are Hounsfield units
_LOOKED_AT = 8  # images by which it is told


class Masks(Builder, skip_registration=True):  # type: ignore[call-arg]
    """A set of `medjax.data.masks`; the class attribute `name` says which.

    Each example has `size`, of the prepared image, `to_index`, the affine from its voxels to
    indices of the file's array, `file_shape`, `file_world`, from indices of that array to mm (RAS
    of a volume), `file_spacing` (NaN where it is not known), `oriented`, whether the file tells how
    it lies, `voxels` of each structure in the file's mask, and `packed_bytes` and
    `mask_hash` of that mask.
    """

    VERSION = tfds.core.Version("1.3.0")  # 1.2.0 chose the scaling by the first image alone

    @functools.cached_property
    def mask_set(self) -> MaskSet:
        return SETS[self.name](self.options)

    @functools.cached_property
    def subjects(self) -> subjects.Subjects:
        return subjects.of_cases(
            self.mask_set.cases,
            known_by=self.mask_set.known_by,
            layout=self.mask_set.info.subjects,
            secret=self.secret,
        )

    @functools.cached_property
    def form(self) -> "Form":
        """Of the set: chosen by some of its images and by the sizes of all voxels."""
        scaling = self.options.scaling or ("image" if self.options.window else self.usual_scaling())
        longest = self.options.longest_side
        voxel_mm = () if longest else tuple(self.options.voxel_mm) or usual_voxel(self.layouts)
        kept = self.choose_type() if scaling == "set" else ""
        return Form(voxel_mm, scaling, self.options.window, kept, longest)

    def usual_scaling(self) -> str:
        """`set` where an image has Hounsfield units, of some from the whole length of the set."""
        cases = self.mask_set.cases
        some = cases[:: max(len(cases) // _LOOKED_AT, 1)]
        read = self.readable(some, lambda case: case.read(), lambda _, raw: _is_ct(raw.pixels))
        return "set" if any(read) else "image"

    def choose_type(self) -> str:
        """The type of whole numbers of images that are scaled alike; empty: none. Never 8 bits, by
        which it is known of a network that its images were scaled each by itself."""
        kept = exams.common_type([*self.layouts, *self._further])
        return "int16" if kept == "uint8" else kept

    @property
    def _further(self) -> list[Layout | None]:
        """How further channels lie, which have files of their own."""
        files = [p for c in self.mask_set.cases if c.path for p in channels.files_of(c.path)[1:]]
        return [self._layout_of(path) for path in files]

    @functools.cached_property
    def layouts(self) -> list[Layout | None]:
        """How the image of each file lies; None where its file does not tell it."""
        return [self._layout_of(case.path) for case in self.mask_set.cases if case.path]

    def _layout_of(self, path: Path) -> Layout | None:
        with contextlib.suppress(*[UserError] * self.options.skip_bad):
            return images.layout(path, stacked=True, series=self.options.series)
        return None  # left out, and told of, when its image is read

    @functools.cached_property
    def _description(self):
        example = self.first_readable(self.mask_set.cases, _read, self._prepared)
        info = dataclasses.replace(
            self.mask_set.info,
            structure_values=self.mask_set.values,
            subjects=self.subjects.known_by,
            spacing_mm=self.form.voxel_mm or self._spacing(example),
            resampled=bool(self.form.voxel_mm),
            longest_side=self.form.longest_side,
        )
        shape = (*(None,) * (example.image.ndim - 1), example.image.shape[-1])
        return info, shape, example.image.dtype

    def _spacing(self, example: Example) -> tuple[float, ...] | None:
        """The size of a prepared voxel, along the axes of the prepared array, where every file
        tells its own."""
        files = (case for case in self.mask_set.cases if case.path)
        spacings = (
            case.spacing_mm or (layout.spacing_mm if layout else None)
            for case, layout in zip(files, self.layouts, strict=True)
        )
        known = all(known_spacing(s) if isinstance(s, tuple) else s for s in spacings)
        known = known and np.isfinite(example.targets["file_spacing"]).all()
        if not known:
            return None
        to_world = example.targets["file_world"] @ example.targets["to_index"]
        return tuple(np.round(geometry.spacing_mm(to_world), 6).tolist())

    def describe(self):
        return self._description

    def examples(self, download: Callable) -> dict[str, Part]:
        self.notes += [*self.mask_set.notes, *self.form.notes(wished=self.options)]
        return self.parts(self.mask_set.cases, self.subjects, self._read_all)

    def _read_all(self, cases: list[MaskCase]) -> Iterator[Example]:
        return self.readable(cases, _read, self._prepared)

    def _prepared(self, case: MaskCase, files: tuple[RawImage, RawImage]) -> Example:
        image = files[0]._replace(pixels=self.in_channels(files[0].pixels))
        values, things = self.mask_set.values, self.mask_set.info.instances
        return prepare(case, image, files[1], values, form=self.form, things=things)

    def keep(self, split: str, example: Example) -> None:
        volumes.append(Path(self.data_dir), split, example.image, **example.kept)


def _read(case: MaskCase) -> tuple[RawImage, RawImage]:
    return case.read(), case.read_mask()


class Form(NamedTuple):
    """What every image of a set is brought to.

    Attributes:
      voxel_mm: size of the voxels along each axis; empty: as they are.
      scaling, window: as of `MaskOptions`.
      integer_type: of values that are scaled alike for all; empty: float32.
      longest_side: of images that have a longer one; 0: as they are.
    """

    voxel_mm: tuple[float, ...]
    scaling: str
    window: tuple[float, ...]
    integer_type: str = ""
    longest_side: int = 0

    def notes(self, *, wished: MaskOptions) -> list[str]:
        """What was chosen for a set, and why."""
        out = []
        if self.voxel_mm and not wished.voxel_mm:
            sizes = " x ".join(f"{v:g}" for v in self.voxel_mm)
            out.append(f"volumes resampled to voxels of {sizes} mm, the median of each axis")
        if self.scaling == "set" and not wished.scaling:
            out.append("intensities are scaled alike for all: some are below -200, as in CT")
        return out


def prepare(
    case: MaskCase,
    raw_image: RawImage,
    raw_mask: RawImage,
    values: Sequence[int],
    *,
    form: Form,
    things: bool = False,
) -> Example:
    """An image and its mask in the form of the set.

    Args:
      things: the mask numbers single things: the prepared one is a map of their depth.

    Raises:
      UserError: if the two do not lie on one grid, or the mask has values that are not declared.
    """
    raw_mask = turned_like(raw_image, raw_mask)
    check_one_grid(raw_image, raw_mask, origin=case.origin)
    pixels = raw_mask.pixels[..., 0]
    mask = (
        numbered_things(pixels, origin=case.origin)
        if things
        else numbered(pixels, values, origin=case.origin)
    )
    placed = place(raw_image, form, spacing_mm=case.spacing_mm, origin=case.origin)
    turned = geometry.resample_labels(
        mask, placed.targets["to_index"], shape=placed.image.shape[:-1]
    )
    packed, classes = volumes.pack(mask), np.sign(mask) if things else mask
    count = 1 if things else len(values)
    targets = {
        **placed.targets,
        "voxels": np.bincount(classes.reshape(-1), minlength=count + 1)[1:].astype(np.int64),
        "packed_bytes": len(packed),
        "mask_hash": int.from_bytes(hashlib.sha1(packed).digest()[:7]),
    }
    return Example(
        placed.image,
        targets,
        case.case_id,
        case.subject,
        case.origin,
        case.metadata,
        {
            "mask": depth_map(turned) if things else np.ascontiguousarray(turned),
            "reference": packed,
        },
    )


class PlacedImage(NamedTuple):
    """An image in the form of its set, `[*space, channel]`, and where it lies: the columns of
    `Masks` that need no mask."""

    image: np.ndarray
    targets: dict[str, Any]


def place(raw_image: RawImage, form: Form, *, spacing_mm: float | None, origin: str) -> PlacedImage:
    """Brings an image into the form of its set; new images that are predicted too.

    Args:
      spacing_mm: of every axis, where the file does not tell it.
    """
    pixels, ndim = raw_image.pixels, raw_image.pixels.ndim - 1
    world, known, oriented = _world(raw_image, spacing_mm, origin)
    stored = np.eye(ndim + 1)
    if ndim == 3 and oriented:
        pixels, stored = geometry.canonical(pixels, world)
    values = _scaled(pixels, form)
    back = stored
    if form.longest_side:
        values, back = _shrunk(values, stored, form.longest_side)
    elif form.voxel_mm and known:
        values, back = _resampled(values, world, stored, form.voxel_mm, origin)
    elif form.voxel_mm:
        raise UserError(
            f"{origin}: the size of its voxels is not known, and all are resampled to "
            f"{' x '.join(f'{v:g}' for v in form.voxel_mm)} mm; mend the file, or give `spacing_mm`"
        )
    return PlacedImage(
        np.ascontiguousarray(values),
        {
            "size": np.array(values.shape[:-1], np.int32),
            "to_index": back,
            "file_shape": np.array(raw_image.pixels.shape[:-1], np.int32),
            "file_world": world,
            "file_spacing": geometry.spacing_mm(world) if known else np.full(ndim, np.nan),
            "oriented": bool(oriented),
        },
    )


def _world(
    raw_image: RawImage, spacing_mm: float | None, origin: str
) -> tuple[np.ndarray, bool, bool]:
    """From indices of the array to mm, whether their size is known, and whether the file tells how
    it lies."""
    ndim = raw_image.pixels.ndim - 1
    oriented = raw_image.affine is not None and len(raw_image.affine) == ndim + 1
    known = oriented or known_spacing(raw_image.spacing_mm) or bool(spacing_mm)
    if not oriented and raw_image.axes == "xyz":  # NIfTI without an orientation
        sizes = raw_image.spacing_mm if known_spacing(raw_image.spacing_mm) else None
        sizes = sizes or ((spacing_mm or 1.0,) * ndim)
        return geometry.scaling(np.array(sizes), np.zeros(ndim)), known, False
    world = placing.world_of(
        raw_image, spacing_mm=spacing_mm or (None if known else 1.0), origin=origin
    )
    return world, known, oriented


def _scaled(pixels: np.ndarray, form: Form) -> np.ndarray:
    if form.scaling == "image":
        return images.eight_bits(pixels, form.window)
    return exams.round_to(pixels, form.integer_type) if form.integer_type else pixels


def _resampled(
    pixels: np.ndarray,
    world: np.ndarray,
    stored: np.ndarray,
    voxel_mm: tuple[float, ...],
    origin: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels with voxels of the size, about the same centre, and the affine from them to
    indices of the file's array."""
    spacing = geometry.spacing_mm(world @ stored)
    if len(voxel_mm) != len(spacing):
        raise UserError(f"`voxel_mm`: give {len(spacing)} sizes; {origin} has so many axes")
    if np.allclose(spacing, voxel_mm, rtol=0.01):
        return pixels, stored
    size, factor = np.array(pixels.shape[:-1]), np.array(voxel_mm) / spacing
    shape = tuple(int(n) for n in np.maximum(np.rint(size / factor), 1))
    to_pixels = geometry.scaling(factor, (size - 1) / 2 - factor * (np.array(shape) - 1) / 2)
    wide, back = geometry.widen(pixels, to_pixels)
    return geometry.resample(wide, back, shape=shape), stored @ to_pixels


def _shrunk(
    pixels: np.ndarray, stored: np.ndarray, longest_side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels with at most so many along each side, the same number of theirs to each, and the
    affine from them to indices of the file's array."""
    size = np.array(pixels.shape[:-1])
    if size.max() <= longest_side:
        return pixels, stored
    shape = np.maximum(np.rint(size * longest_side / size.max()), 1).astype(int)
    factor = size / shape
    to_pixels = geometry.scaling(factor, (factor - 1) / 2)  # outer faces stay outer faces
    return images.resize(pixels, tuple(shape.tolist())), stored @ to_pixels


def _is_ct(pixels: np.ndarray) -> bool:
    """Whether the values are Hounsfield units."""
    return pixels.dtype.kind in "if" and bool(pixels.min() < _LOWEST_OF_MR)


def usual_voxel(layouts: Sequence[Layout | None]) -> tuple[float, ...]:
    """The size that volumes are resampled to: the median of each axis; empty where all have one
    size, or none is known."""
    known = [x for x in layouts if x and x.affine is not None and len(x.shape) == 3]
    sizes = np.array([exams.reoriented(x).spacing_mm for x in known], float)
    if not len(sizes) or (np.ptp(sizes, axis=0) <= 0.01 * sizes.min(0)).all():
        return ()
    return tuple(float(f"{v:.4g}") for v in np.median(sizes, axis=0))

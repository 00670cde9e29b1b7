"""Settings that nobody gave, from one's own images: their size, and how long to train."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import exams, images
from medjax.data.options import BoxOptions, DataOptions, LandmarkOptions, MaskOptions, Options
from medjax.data.pair_options import PairOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.errors import UserError

_SAMPLE = 40  # files that are looked at
_SIDES = (28, 32, 48, 64, 96, 128, 160, 224)
# The longest side by axes of an image: on a CPU, on an accelerator.
_CLASS_SIDE = {2: (64, 224), 3: (32, 96)}
_POINT_SIDE = {2: (192, 512), 3: (64, 128)}
_BOX_SIDE = {2: (256, 640), 3: (64, 128)}
_FRAME_SIDE = (64, 128)


class Suggestion(NamedTuple):
    """A setting, its value, and why."""

    name: str
    value: Any
    reason: str


def suggest_form(options: Options, *, accelerated: bool) -> list[Suggestion]:
    """What the images of a folder or table are brought to: their size, and their channels.

    Raises:
      UserError: if the set cannot be read.
    """
    return _FORMS[type(options)](options, accelerated)


def _of_exams(options: DataOptions, accelerated: bool) -> list[Suggestion]:
    from medjax.data.labelled import find_rows

    rows = find_rows(options)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int))
    shapes = []
    for i in chosen:
        with contextlib.suppress(*[UserError] * options.skip_bad):
            raw_image = images.read(rows[i].path, limit_bytes=options.limit_bytes)
            shapes.append(exams.turned(raw_image)[0].shape)
    if not shapes:
        return []  # told of when the set is read
    channels = Counter(shape[-1] for shape in shapes)
    ndim = len(shapes[0]) - 1
    sides = np.array([s[:-1] for s in shapes if len(s) == ndim + 1])
    longest, usual = _CLASS_SIDE[ndim][accelerated], np.median(sides.max(1))
    size = max(side for side in _SIDES if side <= min(longest, max(usual, _SIDES[0])))
    out = []
    if len(np.unique(sides, axis=0)) > 1 or sides.max() > longest:
        sizes = f"images with sides of {sides.min()} to {sides.max()} {unit_of(ndim)}"
        out.append(Suggestion("image_size", size, f"{sizes}, {device_of(accelerated)}"))
    if len(channels) > 1:
        reason = f"{channels[1]} of {len(shapes)} images that were looked at are gray"
        out.append(Suggestion("channels", "rgb" if channels[3] > channels[1] else "gray", reason))
    return out


def _of_landmarks(options: LandmarkOptions, accelerated: bool) -> list[Suggestion]:
    from medjax.data.landmarks.folder import landmark_folder

    landmark_set = landmark_folder(options)
    if options.grid_mm or options.image_shape:
        return []
    if len(landmark_set.shape) == 3:
        paths = [c.path for c in landmark_set.cases if c.path]
        return _common_grid(paths, _POINT_SIDE[3], accelerated, skip_bad=options.skip_bad)
    return _shrink(landmark_set.shape, _POINT_SIDE, accelerated)


def _of_boxes(options: BoxOptions, accelerated: bool) -> list[Suggestion]:
    from medjax.data.boxes.folder import box_folder

    if options.grid_mm or options.image_shape:
        return []
    box_set = box_folder(options)
    if len(box_set.shape) == 3:
        paths = [case.path for case in box_set.cases if case.path]
        return _common_grid(paths, _BOX_SIDE[3], accelerated, skip_bad=options.skip_bad)
    shown = " x ".join(map(str, box_set.shape))
    usual = Suggestion("image_shape", box_set.shape, f"images of usually {shown} pixels")
    return _shrink(box_set.shape, _BOX_SIDE, accelerated) or [usual]


def _common_grid(
    paths: Sequence[Path], longest: tuple[int, int], accelerated: bool, *, skip_bad: bool
) -> list[Suggestion]:
    """Voxels of one size for all volumes, of their usual size, and a grid that holds the largest
    within what a device takes."""
    layouts = []
    for path in paths:
        with contextlib.suppress(*[UserError] * skip_bad):
            if (layout := images.layout(path)) and layout.affine is not None:
                layouts.append(layout)
    if not layouts:
        return []
    turned = [exams.reoriented(x) for x in layouts]
    spacing = np.array([x.spacing_mm for x in turned], float)
    extent = np.array([x.shape for x in turned]) * spacing
    usual = float(np.median(spacing))
    grid_mm = usual * max(1.0, extent.max() / usual / longest[accelerated])
    digit = 10.0 ** (math.floor(math.log10(grid_mm)) - 2)  # up, or the grid would be too large
    grid_mm = float(f"{math.ceil(grid_mm / digit - 1e-6) * digit:.3g}")
    sides = tuple((np.ceil(extent.max(0) / grid_mm / 16).astype(int) * 16).tolist())
    why = f"volumes of up to {extent.max():.0f} mm, voxels of {usual:.3g} mm"
    return [
        Suggestion("grid_mm", grid_mm, f"{why}, {device_of(accelerated)}"),
        Suggestion("image_shape", sides, "holds the largest"),
    ]


def _of_sequences(options: SequenceOptions, accelerated: bool) -> list[Suggestion]:
    from medjax.data.sequences.folder import sequence_folder

    frames = sequence_folder(options).cases[0].read().frames
    return _shrink(frames.shape[1:3], {2: _FRAME_SIDE}, accelerated)


def _shrink(
    shape: tuple[int, ...], longest: dict[int, tuple[int, int]], accelerated: bool
) -> list[Suggestion]:
    """The same proportions within what a device takes, in sides that divide by 16."""
    most = longest[len(shape)][accelerated]
    if max(shape) <= most:
        return []
    sides = tuple(max(round(n * most / max(shape) / 16), 1) * 16 for n in shape)
    shown = " x ".join(map(str, shape))
    return [Suggestion("image_shape", sides, f"images of {shown}, {device_of(accelerated)}")]


_FORMS: dict[type, Callable[[Any, bool], list[Suggestion]]] = {
    DataOptions: _of_exams,
    LandmarkOptions: _of_landmarks,
    BoxOptions: _of_boxes,
    MaskOptions: lambda options, accelerated: [],  # each keeps its own size
    PairOptions: lambda options, accelerated: [],  # so do pairs
    SequenceOptions: _of_sequences,
}


def unit_of(ndim: int) -> str:
    """What an image is made of, in words."""
    return "pixels" if ndim == 2 else "voxels"


def device_of(accelerated: bool) -> str:
    """What is computed on, in words."""
    return "an accelerator" if accelerated else "a CPU"


def suggest_batch(count: int, *, most: int) -> Suggestion:
    """A power of two, so that an epoch has some updates."""
    batch = 4
    while batch * 2 <= most and batch * 8 <= count:
        batch *= 2
    return Suggestion("batch", batch, f"{count} training cases")


def suggest_steps(count: int, batch: int, *, epochs: int, accelerated: bool) -> Suggestion:
    """So many passes over the set, within what a device does in a sitting."""
    least, most = 300, 20_000 if accelerated else 2_000
    steps = min(max(round(epochs * count / batch, -2), least), most)
    return Suggestion("steps", int(steps), f"{count} training cases, {device_of(accelerated)}")

"""Brain planes: at which standard level was this axial slice cut? Made, not acquired."""

from collections.abc import Iterator

import numpy as np

from medjax.data import brain, splits
from medjax.data.builders.base import Builder, Example, Part
from medjax.data.info import DatasetInfo

# Axial levels: what they show, and their height z in the ICBM-152 template, mm.
LEVELS_MM = {
    "cerebellum": -34.0,
    "pons": -26.0,
    "midbrain": -18.0,
    "hypothalamus": -10.0,
    "anterior commissure": -2.0,
    "thalamus": 6.0,
    "frontal horns": 14.0,
    "ventricle bodies": 22.0,
    "corona radiata": 30.0,
    "centrum semiovale": 38.0,
}
_JITTER_MM = 3.0  # a slice lies within this of its level
_TILT_DEGREES = 6.0  # standard deviation about the two axes of the plane
_PIXEL_MM = 4.0
_MIDDLE_Y_MM = 18.0  # the middle of the brain lies this far behind the origin
_SIDE = 48
_SEED = 152


class BrainPlanes(Builder, skip_registration=True):  # type: ignore[call-arg]
    """Axial slices of the deformed ICBM-152 template; the class is the level of the cut.

    Each subject is a deformation of its own (`medjax.data.brain`) and gives one slice a level.
    """

    name = "brain_planes"
    READS = ("subjects", "channels")

    def describe(self):
        info = DatasetInfo(
            self.name,
            tuple(LEVELS_MM),
            modality="T1-weighted MR, simulated from a template",
            spacing_mm=(_PIXEL_MM, _PIXEL_MM),
            licence="template: permissive (McGill)",
            citation=brain.CITATION,
            synthetic=True,
            ordered=True,
            subjects=f"synthetic, {self.options.subjects}",
        )
        return info, (_SIDE, _SIDE, 3 if self.options.channels == "rgb" else 1), np.uint8

    def examples(self, download):
        count = self.options.subjects
        names = [f"subject_{i:04d}" for i in range(count)]
        shares = {"train": 0.6, "validation": 0.15, "test": 0.25}
        chosen = splits.assign(names, [0] * count, seed=_SEED, shares=shares)
        parts = {split: [i for i in range(count) if chosen[i] == split] for split in splits.SPLITS}
        return {
            split: Part(len(LEVELS_MM) * len(some), self._slices(some))
            for split, some in parts.items()
        }

    def _slices(self, subjects: list[int]) -> Iterator[Example]:
        for index in subjects:
            slices = render_slices(_SEED, index)
            for label, (level, image) in enumerate(zip(LEVELS_MM, slices, strict=True)):
                case = f"subject_{index:04d}_{level.replace(' ', '_')}"
                yield Example(
                    self.in_channels(image),
                    {"label": label},
                    case,
                    f"subject_{index:04d}",
                    origin=case,
                )


def render_slices(seed: int, index: int) -> list[np.ndarray]:
    """One slice a level of subject `index` of family `seed`: `[_SIDE, _SIDE, 1]`, uint8."""
    subject = brain.make_subject(seed, index)
    rng = np.random.default_rng([seed, index, len(LEVELS_MM)])
    count = len(LEVELS_MM)
    z = np.array(list(LEVELS_MM.values())) + rng.uniform(-_JITTER_MM, _JITTER_MM, count)
    anchors = subject.from_template(np.stack([0.0 * z, 0.0 * z - _MIDDLE_Y_MM, z]))
    slopes = np.tan(np.deg2rad(rng.normal(0, _TILT_DEGREES, (count, 2))))
    offset = (np.arange(_SIDE) - (_SIDE - 1) / 2) * _PIXEL_MM
    y, x = np.meshgrid(-offset, offset, indexing="ij")  # rows run from front to back
    out = []
    for anchor, (slope_x, slope_y) in zip(anchors.T, slopes, strict=True):
        points = np.stack([x, y - _MIDDLE_Y_MM, anchor[2] + slope_x * x + slope_y * y])
        out.append(np.rint(255 * subject.render(points, rng)).astype(np.uint8)[..., None])
    return out

"""Where landmarks were found in one image: what heatmaps and searches answer alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import geometry, images, placing, slicer
from medjax.data.dataset import Split
from medjax.data.found import tells_spacing
from medjax.data.landmarks import pose
from medjax.errors import UserError
from medjax.outputs.base import ImageHints, ModelSpec, PreparedImage
from medjax.outputs.landmarks import plot as landmark_plot
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.outputs.preparing import fit_channels
from medjax.typing import Json


class LandmarkAnswer(NamedTuple):
    """The landmarks of one image; NaN where absent, in mm also where no spacing is known.

    Attributes:
      names: `n` of them.
      points_px: `[n, ndim]`, x, y[, z] in pixels of the file.
      points_mm: the same in the world (RAS of a volume).
      points_vox: the same in voxels of the prepared image, on the grid of the training.
      confidence: `[n]`.
      points_array_vox: the same as indices into the array that was given, in the order of its axes
        (row, column of a picture; i, j, k of a volume with an affine).
    """

    case_id: str
    names: tuple[str, ...]
    points_px: np.ndarray
    points_mm: np.ndarray
    points_vox: np.ndarray
    confidence: np.ndarray
    points_array_vox: np.ndarray

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""
        axes = "xyz"[: self.points_px.shape[-1]]
        return [
            {
                "case_id": self.case_id,
                "landmark": name,
                **dict(zip(axes, p, strict=True)),
                **{f"{a}_mm": v for a, v in zip(axes, mm, strict=True)},
                "confidence": c,
            }
            for name, p, mm, c in zip(
                self.names, self.points_px, self.points_mm, self.confidence, strict=True
            )
        ]

    def further_rows(self) -> Json:
        """No other tables."""
        return {}

    def files(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """Of a volume a list that 3D Slicer opens over it, in LPS."""
        if self.points_px.shape[-1] != 3:
            return {}
        named = dict(zip(self.names, geometry.ras(self.points_mm, "LPS"), strict=True))
        return {("landmarks", ".mrk.json"): lambda path: slicer.write_json(path, named)}

    def draw(self, path: Path, image: np.ndarray) -> None:
        """The points over the image, or over three slices of a volume."""
        landmark_plot.over(path, image, self.names, self.points_vox, title=self.case_id)


def answers_of(predictions: LandmarkPredictions, split: Split) -> list[LandmarkAnswer]:
    """One answer a case; the column `known` says whose millimetres are."""
    back, known = np.linalg.inv(split["to_file"]), split["known"]
    same = np.broadcast_to(np.eye(back.shape[-1]), back.shape)
    to_array = np.linalg.inv(split.targets.get("file_order", same))
    return [
        LandmarkAnswer(
            case,
            predictions.names,
            predictions.points_px[i],
            predictions.points_mm[i]
            if known[i]
            else np.full_like(predictions.points_mm[i], np.nan),
            geometry.apply(back[i], predictions.points_px[i]),
            predictions.confidence[i],
            geometry.apply(to_array[i], predictions.points_px[i]),
        )
        for i, case in enumerate(predictions.case_id)
    ]


def prepare(
    raw_image: images.RawImage,
    predictor: Any,
    spec: ModelSpec,
    *,
    case_id: str,
    hints: ImageHints,
) -> PreparedImage:
    """An image on the grid of the training; raises UserError if it does not fit."""
    shape, grid_mm = spec.image_shape, spec.info.grid_mm
    raw_image = fit_channels(raw_image, spec, hints, case_id=case_id)
    has_spacing = tells_spacing(raw_image)
    known = bool(has_spacing or hints.spacing_mm)
    any_mm = 0.0 if grid_mm else 1.0  # without a grid in mm any pixel will do
    world = placing.world_of(
        raw_image, origin=case_id, spacing_mm=0.0 if has_spacing else hints.spacing_mm or any_mm
    )
    placed = placing.place(
        raw_image,
        world,
        shape=shape[:-1],
        grid_mm=grid_mm,
        window=spec.window,
        turn=_turn(spec, hints, case_id=case_id),
    )
    names, ndim = spec.info.landmarks, len(shape) - 1
    return PreparedImage(
        placed.image,
        case_id,
        {
            **dict.fromkeys(
                ("landmarks", "true_file", "true_mm"), np.full((len(names), ndim), np.nan)
            ),
            "to_world": placed.to_world,
            "to_file": placed.to_file,
            "box": placed.box,
            "known": np.bool_(known),
            "file_order": placing.file_order(raw_image),
        },
    )


def _turn(spec: ModelSpec, hints: ImageHints, *, case_id: str) -> placing.Turn | None:
    """Into the pose of the training, where it had one."""
    if not spec.info.pose:
        return None
    points, ndim = hints.points_mm.get(case_id), len(spec.image_shape) - 1
    target = np.array([place for _, place in spec.info.pose])
    if points is None:
        raise UserError(
            f"{case_id}: this network takes images in one pose; give where a first one "
            "found their landmarks (`pose_from`, its predictions.csv; from Python "
            "points_mm)"
        )
    if points.shape != target.shape:
        raise UserError(
            f"{case_id}: points_mm has the shape {points.shape}; the pose of this "
            f"network has {target.shape}, of {', '.join(dict(spec.info.pose))}"
        )
    if (~np.isnan(points + target).any(1)).sum() < ndim:
        raise UserError(f"{case_id}: the first look found fewer than {ndim} of its landmarks in mm")
    return pose.turn(points, target, shape=spec.image_shape[:-1], grid_mm=spec.info.grid_mm)

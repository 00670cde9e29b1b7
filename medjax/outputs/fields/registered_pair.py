"""One pair that is registered: its images on the grid of the fixed file, and its files."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from medjax.data import geometry, slicer
from medjax.data.dataset import Split
from medjax.data.dense_transform import DenseTransform, from_voxels
from medjax.data.file_grid import FileGrid
from medjax.data.info import DatasetInfo
from medjax.data.pairing import offset_of
from medjax.files import write_table
from medjax.ops import field
from medjax.outputs.masks.report import write_mask


def make_transform(
    displacement: np.ndarray, matrix: np.ndarray, row: dict[str, Any], split: Split
) -> DenseTransform:
    """The transform of two files, of what a network or an optimisation has found.

    Args:
      displacement: `[*half, ndim]`, on a grid of half of the padded sides, in its voxels.
      matrix: `[ndim, ndim + 1]`, as of `tasks.registration.task.make`.
      row: the columns of the pair.
    """
    space = split.image_shape[:-1]
    to_index = {
        side: row[f"{side}_to_index"]
        @ geometry.scaling(np.ones(len(space)), -offset_of(row[f"{side}_size"], space))
        for side in ("fixed", "moving")
    }
    return from_voxels(
        enlarge(displacement, space),
        matrix.astype(np.float64),
        fixed_world=row["fixed_file_world"],
        fixed_to_index=to_index["fixed"],
        moving_world=row["moving_file_world"],
        moving_to_index=to_index["moving"],
        space=tuple(map(int, row["fixed_file_shape"])),
        oriented=bool(row["fixed_oriented"]),
    )


def enlarge(displacement: np.ndarray, space: tuple[int, ...]) -> np.ndarray:
    """A displacement on a grid of half of the padded sides, on that of images: `[*space, ndim]`,
    in voxels of it."""
    doubled = [2 * n for n in displacement.shape[:-1]]
    return np.asarray(field.resize(jnp.asarray(displacement), space=doubled))[
        tuple(slice(n) for n in space)
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class RegisteredPair:
    """A pair of a split, and what was found for it; `info` is of the set.

    Attributes:
      displacement, matrix: as of `make_transform`. The transform is made of them when it is asked
        for: on the grids of files those of all pairs would take much memory.
    """

    split: Split
    index: int
    displacement: np.ndarray
    matrix: np.ndarray
    info: DatasetInfo

    @property
    def transform(self) -> DenseTransform:
        """From the fixed to the moving file."""
        return _transform_of(self)

    def column(self, name: str) -> Any:
        """Of the pair."""
        return self.split[name][self.index]

    @property
    def grid(self) -> FileGrid:
        """Of the fixed file."""
        row = {name: values[self.index] for name, values in self.split.targets.items()}
        return FileGrid.of_row(row, prefix="fixed_")

    def warp_image(self) -> np.ndarray:
        """The prepared moving image, in its own intensities."""
        image, to_index = self.values("moving")
        return self.transform.warp_image(image, self.column("moving_file_world") @ to_index)

    def values(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """A prepared image `[*space]` of the pair, and the affine from its voxels to indices of its
        file."""
        name, on_demand = f"{side}_values", self.split.on_demand
        padded = on_demand[name](self.index) if name in on_demand else self.column(name)
        size = self.column(f"{side}_size")
        begin = offset_of(size, padded.shape)
        inside = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
        return padded[inside], self.column(f"{side}_to_index")

    def show(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The fixed image, and the moving one before and after, on the grid of the fixed file."""
        space = self.transform.space
        still = np.zeros((*(-(-n // 2) for n in self.split.image_shape[:-1]), len(space)))
        before = dataclasses.replace(self, displacement=still, matrix=self.column("initial"))
        return self.show_fixed(), before.warp_image(), self.warp_image()

    def show_fixed(self) -> np.ndarray:
        """The prepared fixed image on the grid of its file."""
        image, to_index = self.values("fixed")
        back = np.linalg.inv(to_index)
        return geometry.interpolate(image.astype(np.float32), back, shape=self.transform.space)

    def points_mm(self, side: str, what: str = "points") -> np.ndarray:
        """The points of an image of the pair, or its known places, `[n, ndim]`; NaN is missing."""
        to_world = self.column(f"{side}_file_world") @ self.column(f"{side}_to_index")
        return geometry.apply(to_world, self.column(f"{side}_{what}_vox"))

    def misplace_mm(self, what: str) -> np.ndarray:
        """By how much points or places of the fixed image are moved wrongly, `[n, ndim]`; nothing
        where the split has none."""
        if f"fixed_{what}_vox" not in self.split.targets:
            return np.zeros((0, len(self.transform.space)))
        fixed, moving = (self.points_mm(side, what) for side in ("fixed", "moving"))
        return self.transform.move_points(fixed) - moving

    def warp_mask(self) -> np.ndarray:
        """The mask of the moving file: structure numbers."""
        mask = self.split.on_demand["moving_reference"](self.index)
        return self.transform.warp_mask(mask, self.column("moving_file_world"))

    def writers(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """What writes each file, by folder and suffix."""
        of_values = self.grid.suffix_for(self.values("moving")[0].dtype)
        end = self.grid.suffix_for(np.dtype(np.uint16))
        out: dict[tuple[str, str], Callable[[Path], None]] = {
            ("fields", ".nii.gz"): self._write_field,
            ("affines", ".tfm"): self._write_affine,
            ("warped", of_values): self._write_image,
        }
        if self.info.structures and "moving_reference" in self.split.on_demand:
            out["warped_masks", end] = self._write_mask
        if self.info.landmarks and "moving_points_vox" in self.split.targets:
            end = ".mrk.json" if len(self.transform.space) == 3 else ".csv"
            out["warped_points", end] = self._write_points
        return out

    def _write_field(self, path: Path) -> None:
        self.transform.write(path)

    def _write_affine(self, path: Path) -> None:
        self.transform.write_affine(path)

    def _write_image(self, path: Path) -> None:
        self.grid.write(path, self.warp_image())

    def _write_mask(self, path: Path) -> None:
        write_mask(path, self.warp_mask(), self.info.structure_values, self.grid)

    def _write_points(self, path: Path) -> None:
        """Of a volume as 3D Slicer's list, of a picture in pixels of the fixed file."""
        places = self.transform.move_points_back(self.points_mm("moving"))
        if len(self.transform.space) == 3:
            slicer.write_json(
                path, dict(zip(self.info.landmarks, places, strict=True)), system="RAS"
            )
            return
        pixels = geometry.apply(np.linalg.inv(self.column("fixed_file_world")), places)
        pixels = pixels if self.grid.has_x_first else pixels[:, ::-1]
        rows = [[name, x, y] for name, (x, y) in zip(self.info.landmarks, pixels, strict=True)]
        write_table(path, ["landmark", "x_px", "y_px"], rows)


@functools.lru_cache(maxsize=2)
def _transform_of(pair: RegisteredPair) -> DenseTransform:
    """Of the pair that is looked at, and of the same before it was registered."""
    row = {name: values[pair.index] for name, values in pair.split.targets.items()}
    return make_transform(pair.displacement, pair.matrix, row, pair.split)

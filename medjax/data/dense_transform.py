"""A spatial transform of two files, in millimetres: what a registration ends with."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from medjax.data import geometry
from medjax.errors import UserError
from medjax.ops import field

_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from the one to the other


@dataclasses.dataclass(frozen=True, eq=False)
class DenseTransform:
    """Takes places of a fixed image to those of a moving one: T(p) = p + d(p), in mm.

    Images and masks of the moving one are seen through it on the grid of the fixed one. World
    positions are RAS of volumes that tell how they lie; of others along the axes of the file, as of
    pictures to the right and down from the first pixel. Between voxels d is linear; beyond the grid
    T is its affine part, and what d adds to it at the border.

    Attributes:
      displacement_mm: d at the voxels of the fixed image, `[*space, ndim]`, in the order of the
        file's array.
      world_from_voxel: affine `[ndim + 1, ndim + 1]` of the fixed image.
      affine: the affine part, from world to world.
      oriented: whether a volume tells how it lies.
      forward: of an inverse, the transform that it inverts: points are taken back through it, as
        between voxels its own displacement is no more than linear.
    """

    displacement_mm: np.ndarray
    world_from_voxel: np.ndarray
    affine: np.ndarray
    oriented: bool = True
    forward: "DenseTransform | None" = None

    def __post_init__(self) -> None:
        ndim = self.displacement_mm.shape[-1]
        if self.displacement_mm.ndim != ndim + 1 or ndim not in (2, 3):
            raise UserError("a displacement has an axis for each of its 2 or 3 components, and one")
        if not np.isfinite(self.displacement_mm).all():
            raise UserError("the displacement is not finite: the registration has failed")

    @property
    def space(self) -> tuple[int, ...]:
        """The sides of the fixed image."""
        return self.displacement_mm.shape[:-1]

    @functools.cached_property
    def residual_mm(self) -> np.ndarray:
        """What the displacement adds to the affine part: `[*space, ndim]`."""
        places = geometry.apply(self.world_from_voxel, _voxels(self.space))
        return self.displacement_mm - (geometry.apply(self.affine, places) - places)

    def move_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Where places of the fixed image `[..., ndim]` are in the moving one; NaN stays so."""
        from scipy import ndimage

        index = geometry.apply(np.linalg.inv(self.world_from_voxel), points_mm)
        flat = np.nan_to_num(index.reshape(-1, index.shape[-1]).T)
        added = [
            ndimage.map_coordinates(self.residual_mm[..., c], flat, order=1, mode="nearest")
            for c in range(len(flat))
        ]
        residual = np.stack(added, -1).reshape(points_mm.shape)
        moved = geometry.apply(self.affine, points_mm) + residual
        return moved if self.forward is None else _take_back(self.forward, points_mm, moved)

    def move_points_back(self, points_mm: np.ndarray) -> np.ndarray:
        """Where places of the moving image `[..., ndim]` are in the fixed one; NaN stays so."""
        guess = geometry.apply(np.linalg.inv(self.affine), points_mm)
        return _take_back(self, points_mm, guess)

    def places_mm(self) -> np.ndarray:
        """Where every voxel of the fixed image is in the moving one: `[*space, ndim]`."""
        return geometry.apply(self.world_from_voxel, _voxels(self.space)) + self.displacement_mm

    def warp_image(
        self, image: np.ndarray, world_from_voxel: np.ndarray, *, fill: float | None = None
    ) -> np.ndarray:
        """The moving image `[*space]` on the grid of the fixed one, linearly interpolated.

        Args:
          world_from_voxel: affine of the moving image.
          fill: the value outside of it; None: its lowest.
        """
        outside = float(image.min()) if fill is None else fill
        values = self._sample(image.astype(np.float32), world_from_voxel, order=1, fill=outside)
        is_whole = image.dtype.kind in "iu"
        return (np.rint(values) if is_whole else values).astype(image.dtype)

    def warp_mask(self, mask: np.ndarray, world_from_voxel: np.ndarray) -> np.ndarray:
        """The moving mask of whole numbers, by the nearest voxel; 0 outside."""
        return self._sample(mask, world_from_voxel, order=0, fill=0)

    def _sample(
        self, values: np.ndarray, world_from_voxel: np.ndarray, *, order: int, fill: float
    ) -> np.ndarray:
        from scipy import ndimage

        if values.ndim != len(self.space):
            raise UserError(
                f"an image of {values.ndim} axes, and a transform of {len(self.space)}: give both "
                "alike"
            )
        index = geometry.apply(np.linalg.inv(world_from_voxel), self.places_mm())
        last = np.array(values.shape) - 1.0
        inside = np.all((index >= -0.5) & (index <= last + 0.5), -1)  # to the faces of voxels
        coordinates = np.moveaxis(np.clip(np.round(index, 5), 0, last), -1, 0)
        sampled = ndimage.map_coordinates(values, coordinates, order=order, prefilter=False)
        return np.where(inside, sampled, np.asarray(fill, values.dtype))

    def compose(self, then: "DenseTransform") -> "DenseTransform":
        """This transform and another one after it, as one on the grid of this one."""
        places = self.places_mm()
        total = then.move_points(places) - places + self.displacement_mm
        return DenseTransform(
            total.astype(np.float32),
            self.world_from_voxel,
            then.affine @ self.affine,
            self.oriented,
        )

    def invert(self, space: tuple[int, ...], world_from_voxel: np.ndarray) -> "DenseTransform":
        """From the moving to the fixed image, on a grid of the moving one.

        By fixed-point iteration (Chen et al., Medical Physics 35, 2008), of the part beside the
        affine one; it settles where the transform does not fold.

        Args:
          space, world_from_voxel: of the moving image.
        """
        targets = geometry.apply(world_from_voxel, _voxels(space))
        inverse = (self.move_points_back(targets) - targets).astype(np.float32)
        back = np.linalg.inv(self.affine)
        return DenseTransform(inverse, world_from_voxel, back, self.oriented, self)

    def jacobian_determinant(self) -> np.ndarray:
        """How a small volume about each voxel of the fixed image grows: `[*space]`; where it is not
        above 0 the transform folds."""
        to_voxel = np.linalg.inv(self.world_from_voxel)[:-1, :-1]
        return np.asarray(
            field.jacobian_determinant(jnp.asarray(self.displacement_mm @ to_voxel.T))
        )

    def write(self, path: Path | str) -> None:
        """Writes the displacement as ITK reads it (ANTs, SimpleITK, 3D Slicer): a NIfTI of vectors
        in mm, in LPS; of a picture, or a volume that does not tell how it lies, along its axes."""
        from medjax.data import nifti

        vectors, world = _in_lps(self.displacement_mm, self.world_from_voxel, self.oriented)
        nifti.write_vectors(Path(path), vectors, world)

    def write_affine(self, path: Path | str) -> None:
        """Writes the affine part as ITK does, a text of LPS mm; of others as of `write`."""
        ndim = len(self.space)
        matrix = _RAS_LPS @ self.affine @ _RAS_LPS if ndim == 3 and self.oriented else self.affine
        numbers = [*matrix[:-1, :-1].reshape(-1), *matrix[:-1, -1]]
        lines = [
            "#Insight Transform File V1.0",
            "#Transform 0",
            f"Transform: AffineTransform_double_{ndim}_{ndim}",
            f"Parameters: {' '.join(f'{x:.17g}' for x in numbers)}",
            f"FixedParameters: {' '.join(['0'] * ndim)}",
        ]
        Path(path).write_text("\n".join(lines) + "\n")


def _take_back(
    transform: DenseTransform, targets_mm: np.ndarray, places_mm: np.ndarray, *, rounds: int = 100
) -> np.ndarray:
    """The places that the transform takes to the targets, from a guess on; at most so many rounds
    of fixed-point iteration of what is left beside its affine part.

    Where the transform stretches much a whole step goes too far, and the next one comes back: there
    they are halved.
    """
    back = np.linalg.inv(transform.affine)[:-1, :-1]
    share, before = np.ones((*places_mm.shape[:-1], 1)), np.zeros_like(places_mm)
    for _ in range(rounds):
        step = (targets_mm - transform.move_points(places_mm)) @ back.T
        turns = (step * before).sum(-1, keepdims=True) < -(before**2).sum(-1, keepdims=True) / 2
        share = np.where(turns, share / 2, share)
        places_mm, before = places_mm + share * step, step
        if np.nanmax(np.abs(step), initial=0.0) < 1e-4:
            break
    return places_mm


def _voxels(space: tuple[int, ...]) -> np.ndarray:
    """The indices of all voxels: `[*space, ndim]`."""
    lines: list[Any] = [np.arange(n, dtype=np.float64) for n in space]
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1)


def _in_lps(
    displacement_mm: np.ndarray, world_from_voxel: np.ndarray, oriented: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors `[i, j, k, ndim]` in LPS, and the affine to RAS. ITK takes the axes of a volume that
    does not tell how it lies for left, posterior and up; a picture is one slice, whose x is to the
    right and y downwards, as left and posterior are."""
    if displacement_mm.shape[-1] == 3 and oriented:
        return displacement_mm * np.array([-1.0, -1.0, 1.0]), world_from_voxel
    if displacement_mm.shape[-1] == 3:
        return displacement_mm, _RAS_LPS @ world_from_voxel
    world = np.eye(4)
    world[:2, :2] = -world_from_voxel[:2, 1::-1]
    world[:2, 3] = -world_from_voxel[:2, 2]
    return displacement_mm.transpose(1, 0, 2)[:, :, None], world


def from_voxels(
    displacement: np.ndarray,
    matrix: np.ndarray,
    *,
    fixed_world: np.ndarray,
    fixed_to_index: np.ndarray,
    moving_world: np.ndarray,
    moving_to_index: np.ndarray,
    space: tuple[int, ...],
    oriented: bool,
) -> DenseTransform:
    """The transform of two files, of one between their prepared images: x -> M (x + u(x)).

    Args:
      displacement: u on the grid of the prepared fixed image, `[*space, ndim]`, voxels.
      matrix: M `[ndim, ndim + 1]`, to voxels of the prepared moving image.
      fixed_world, moving_world: from indices of the file's array to mm; fixed_to_index,
        moving_to_index: from voxels of the prepared image to such indices.
      space: the sides of the fixed file; oriented: whether it tells how it lies.
    """
    from scipy import ndimage

    index = _voxels(space)
    place = np.round(geometry.apply(np.linalg.inv(fixed_to_index), index), 6)
    coordinates = np.moveaxis(place, -1, 0)
    u = [
        ndimage.map_coordinates(displacement[..., c], coordinates, order=1, mode="nearest")
        for c in range(len(space))
    ]
    square = np.vstack([matrix, np.eye(len(space) + 1)[-1]])
    to_moving = moving_world @ moving_to_index @ square
    moved = geometry.apply(to_moving, place + np.stack(u, -1))
    world = geometry.apply(fixed_world, index)
    affine = to_moving @ np.linalg.inv(fixed_world @ fixed_to_index)
    return DenseTransform((moved - world).astype(np.float32), fixed_world, affine, oriented)

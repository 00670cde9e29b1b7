"""SimpleITK and ANTs as they register a pair, for `benchmarks.registration`.

Each takes the fixed and the moving image `[*space]`, from 0 to 1, and returns the displacement of
every voxel of the fixed one, `[*space, 3]`, in voxels.
"""

import functools
import importlib.util
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from medjax.data import geometry
from medjax.outputs.fields.registered_pair import enlarge

Register = Callable[[np.ndarray, np.ndarray], np.ndarray]
_RADIUS = 4  # of the boxes of local correlation: 9 voxels, as in medjax


def installed(iterations: int) -> dict[str, Register]:
    """What this machine has, by name."""
    out: dict[str, Register] = {}
    if importlib.util.find_spec("SimpleITK"):
        out |= {
            "SimpleITK, B-spline, lncc": functools.partial(bspline, iterations=iterations),
            "SimpleITK, B-spline, mi": functools.partial(bspline, iterations=iterations, bins=32),
            "SimpleITK, demons": functools.partial(demons, iterations=iterations),
        }
    if importlib.util.find_spec("ants"):
        out |= {
            "ANTs, SyN, lncc": functools.partial(syn, iterations=iterations, metric="CC"),
            "ANTs, SyN, mi": functools.partial(syn, iterations=iterations, metric="mattes"),
        }
    return out


def from_half(displacement: np.ndarray, matrix: np.ndarray, space: tuple[int, ...]) -> np.ndarray:
    """Of T(x) = M (x + u(x)), u on a grid of half of the (padded) sides."""
    places = np.moveaxis(np.indices(space), 0, -1)
    square = np.vstack([matrix, [0, 0, 0, 1]])
    return geometry.apply(square, places + enlarge(displacement, space)) - places


def _two(fixed: np.ndarray, moving: np.ndarray) -> tuple[Any, Any, Any]:
    import SimpleITK as sitk  # noqa: N813

    return sitk, *(sitk.GetImageFromArray(x.transpose(2, 1, 0)) for x in (fixed, moving))


def _method(sitk: Any, bins: int) -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetInterpolator(sitk.sitkLinear)
    if bins:
        method.SetMetricAsMattesMutualInformation(bins)
    else:
        method.SetMetricAsANTSNeighborhoodCorrelation(_RADIUS)
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    return method


def _as_array(sitk: Any, transform: Any, fixed: Any) -> np.ndarray:
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, fixed.GetSize(), (0.0,) * 3, (1.0,) * 3
    )
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3)


def bspline(fixed: np.ndarray, moving: np.ndarray, *, iterations: int, bins: int = 0) -> np.ndarray:
    """An affine, then cubic B-splines of 4, 8 and 16 mesh cells a side; by local correlation, or
    by Mattes' mutual information of so many bins."""
    sitk, target, image = _two(fixed, moving)
    first = _method(sitk, bins)
    first.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, iterations)
    first.SetOptimizerScalesFromPhysicalShift()
    affine = sitk.AffineTransform(3)
    affine.SetCenter([(n - 1) / 2 for n in fixed.shape])
    first.SetInitialTransform(affine, inPlace=True)
    first.Execute(target, image)
    mesh = sitk.BSplineTransformInitializer(target, [4, 4, 4])
    second = _method(sitk, bins)
    second.SetMovingInitialTransform(affine)
    second.SetOptimizerAsLBFGS2(numberOfIterations=iterations)
    second.SetInitialTransformAsBSpline(mesh, inPlace=True, scaleFactors=[1, 2, 4])
    second.Execute(target, image)
    return _as_array(sitk, sitk.CompositeTransform([affine, mesh]), target)


def demons(fixed: np.ndarray, moving: np.ndarray, *, iterations: int) -> np.ndarray:
    """Diffeomorphic demons at a quarter, half and full size; without an affine."""
    sitk, target, image = _two(fixed, moving)
    found = None
    for factor in (4, 2, 1):
        small = [
            sitk.Shrink(sitk.SmoothingRecursiveGaussian(x, max(factor / 2, 0.5)), [factor] * 3)
            for x in (target, image)
        ]
        method = sitk.DiffeomorphicDemonsRegistrationFilter()
        method.SetNumberOfIterations(iterations)
        method.SetStandardDeviations(1.5)
        start = () if found is None else (sitk.Resample(found, small[0]),)
        found = method.Execute(*small, *start)
    vectors = sitk.Cast(found, sitk.sitkVectorFloat64)
    return _as_array(sitk, sitk.DisplacementFieldTransform(vectors), target)


def syn(fixed: np.ndarray, moving: np.ndarray, *, iterations: int, metric: str) -> np.ndarray:
    """ANTs' affine and symmetric normalisation, its step and smoothing as they are by default."""
    import ants

    target, image = (ants.from_numpy(x.astype(np.float32)) for x in (fixed, moving))
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            target,
            image,
            type_of_transform="SyN",
            initial_transform="Identity",
            syn_metric=metric,
            syn_sampling=_RADIUS if metric == "CC" else 32,
            reg_iterations=(iterations,) * 3,
            outprefix=f"{folder}/pair_",
        )
        total = ants.apply_transforms(
            target, image, found["fwdtransforms"], compose=f"{folder}/total_"
        )
        return ants.image_read(total).numpy().astype(np.float64)

"""Mask metrics, each declared here once, with example weights for many weightings at once.

`score` compares two masks of a case, class by class. Each metric takes `present` `[n, class]` (the
reference has the class), `scores` `[n, class, len(MEASURES)]` and `weight` `[b, n]`, and returns
`[b]`.

A class that neither mask has is undefined: it is NaN and counts nowhere. One that a single mask has
gets the worst value that the image allows, so that no metric gains by leaving a structure out:
overlaps are 0, and distances the diagonal of the image.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy import ndimage

from medjax.errors import UserError
from medjax.evaluation.metrics import Floats, Metric, marked, mean_defined

MEASURES = ("dice", "iou", "hd95", "assd", "surface_dice", "volume_error")


def score(
    predicted: np.ndarray,
    reference: np.ndarray,
    *,
    labels: Sequence[int],
    spacing: Sequence[float] | np.ndarray,
    tolerance: float,
) -> Floats:
    """What `MEASURES` are of each class: `[class, measure]`.

    Distances are between the centres of the outermost voxels of either mask, which have a neighbour
    (by a face) outside of it or lie at the edge of the image. `hd95` is the larger one of the 95th
    percentiles of both directions (Maier-Hein et al. 2024, doi 10.1038/s41592-023-02151-z), `assd`
    the mean over all voxels of both surfaces (Heimann et al. 2009), `surface_dice` the share of
    them within the tolerance of the other (Nikolov et al. 2021), `volume_error` the difference of
    the volumes, predicted less reference, over their mean: 2 or -2 where one mask lacks the class.

    Args:
      predicted, reference: `[*space]`, whole numbers.
      labels: the numbers of the classes.
      spacing: of the voxels, one an axis; the unit of all distances.
      tolerance: in that unit.

    Raises:
      UserError: if the masks differ in shape.
    """
    if predicted.shape != reference.shape:
        raise UserError(
            f"a predicted mask of {predicted.shape} and a reference of {reference.shape}: give "
            "both on one grid"
        )
    rows = [
        _score_class(predicted == k, reference == k, np.asarray(spacing, float), tolerance)
        for k in labels
    ]
    return np.stack(rows)


def _score_class(
    predicted: np.ndarray, reference: np.ndarray, spacing: Floats, tolerance: float
) -> Floats:
    sizes = int(predicted.sum()), int(reference.sum())
    if not any(sizes):
        return np.full(len(MEASURES), np.nan)
    if not all(sizes):
        diagonal = float(np.linalg.norm((np.array(predicted.shape) - 1) * spacing))
        return np.array([0.0, 0.0, diagonal, diagonal, 0.0, 2.0 if sizes[0] else -2.0])
    both = int((predicted & reference).sum())
    there, back = surface_distances(predicted, reference, spacing=spacing)
    distances = np.concatenate([there, back])
    return np.array(
        [
            2 * both / sum(sizes),
            both / (sum(sizes) - both),
            max(np.percentile(there, 95), np.percentile(back, 95)),
            distances.mean(),
            (distances <= tolerance).mean(),
            2 * (sizes[0] - sizes[1]) / sum(sizes),
        ]
    )


def keep_largest(mask: np.ndarray, *, structures: Sequence[int]) -> np.ndarray:
    """A mask `[*space]` in which each of the structures has its largest piece alone; pieces are
    apart where no voxels touch, by corners neither."""
    out = mask.copy() if structures else mask
    touching = np.ones((3,) * mask.ndim)
    for number in structures:
        pieces, count = ndimage.label(mask == number, touching)
        if count > 1:
            sizes = np.bincount(pieces.reshape(-1))[1:]
            out[(pieces > 0) & (pieces != sizes.argmax() + 1)] = 0
    return out


def surface_distances(
    a: np.ndarray, b: np.ndarray, *, spacing: Sequence[float] | np.ndarray
) -> tuple[Floats, Floats]:
    """From each surface voxel of a mask to the nearest one of the other, there and back."""
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    window = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
    surfaces = [_surface(mask[window]) for mask in (a, b)]  # the rest is empty
    to_a, to_b = (ndimage.distance_transform_edt(~s, sampling=spacing) for s in surfaces)
    return to_b[surfaces[0]], to_a[surfaces[1]]


def _surface(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _mean(present, scores, weight, *, measure: str, places: slice = slice(None)) -> Floats:
    return mean_defined(scores[:, places, MEASURES.index(measure)], weight)


@marked(scale="share", bounds=(0.0, 1.0))
def dice(present, scores, weight, *, places: slice = slice(None)) -> Floats:
    """mean Dice overlap of structures, 2 both / (predicted + reference); 0 if one mask lacks it"""
    return _mean(present, scores, weight, measure="dice", places=places)


@marked(scale="share", bounds=(0.0, 1.0))
def iou(present, scores, weight) -> Floats:
    """mean of what both masks have over what either has; 0 if one mask lacks the structure"""
    return _mean(present, scores, weight, measure="iou")


@marked(bounds=(0.0, np.inf))
def hd95(present, scores, weight) -> Floats:
    """mean over structures of the 95th percentile of the distances between surfaces, the larger of
    both directions; the image's diagonal if one mask lacks the structure"""
    return _mean(present, scores, weight, measure="hd95")


@marked(bounds=(0.0, np.inf))
def assd(present, scores, weight) -> Floats:
    """mean over structures of the mean distance between surfaces; the image's diagonal if one mask
    lacks the structure"""
    return _mean(present, scores, weight, measure="assd")


@marked(scale="share", bounds=(0.0, 1.0))
def surface_dice(present, scores, weight) -> Floats:
    """mean share of both surfaces that lies within the tolerance of the other; 0 if one mask lacks
    the structure"""
    return _mean(present, scores, weight, measure="surface_dice")


@marked(bounds=(0.0, np.inf))
def volume_error(present, scores, weight) -> Floats:
    """mean absolute difference of volumes over their mean; 2 if one mask lacks the structure"""
    return _mean(present, np.abs(scores), weight, measure="volume_error")


@marked(scale="count")
def missed(present, scores, weight) -> Floats:
    """number of structures of the reference of which no voxel overlaps the predicted ones"""
    gone = present & (scores[..., MEASURES.index("dice")] == 0.0)
    return weight @ gone.sum(1).astype(float)


@marked(scale="count")
def invented(present, scores, weight) -> Floats:
    """number of structures that were predicted where the reference has none"""
    more = ~present & (scores[..., MEASURES.index("dice")] == 0.0)
    return weight @ more.sum(1).astype(float)


def declared(classes: Sequence[str], *, tolerance: float, unit: str) -> dict[str, Metric]:
    """All metrics by name.

    Args:
      classes: the names of the structures, in the order of the scores.
      tolerance: of the surfaces; unit: of distances, `mm`, or `vox` where none is known.
    """
    return {
        "dice": dice,
        "iou": iou,
        f"hd95_{unit}": hd95,
        f"assd_{unit}": assd,
        f"surface_dice_{tolerance:g}{unit}": surface_dice,
        "volume_error": volume_error,
        "missed": missed,
        "invented": invented,
        **{f"dice_{name}": partial(dice, places=slice(i, i + 1)) for i, name in enumerate(classes)},
    }

"""Our metrics of masks and boxes against those that others use, where both mean the same.

Needs the extra `parity`; skipped, saying so, where it is absent.
"""

import contextlib
import io

import numpy as np
import pytest
from scipy import ndimage

from medjax.outputs.boxes import metrics as box_metrics
from medjax.outputs.masks import metrics

WHY = "needs the extra `parity`"


def two_masks(seed, shape=(24, 20, 16)):
    """Two smooth blobs that overlap."""
    rng = np.random.default_rng(seed)
    noise = [ndimage.gaussian_filter(rng.normal(size=shape), 3) for _ in range(2)]
    return noise[0] > 0.02, noise[0] + 0.3 * noise[1] > 0.02


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_and_surfaces_are_those_of_medpy(seed):
    """Its `hd95` and `assd` join both directions in another way; the distances are the same."""
    binary = pytest.importorskip("medpy.metric.binary", reason=WHY)
    a, b = two_masks(seed)
    spacing = (1.0, 0.7, 2.5)
    dice, iou, _, assd, _, _ = metrics.score(a, b, labels=(True,), spacing=spacing, tolerance=1.0)[
        0
    ]
    assert dice == pytest.approx(binary.dc(a, b))
    assert iou == pytest.approx(binary.jc(a, b))
    there, back = metrics.surface_distances(a, b, spacing=spacing)
    assert there.mean() == pytest.approx(binary.asd(a, b, spacing))
    assert back.mean() == pytest.approx(binary.asd(b, a, spacing))
    assert max(there.max(), back.max()) == pytest.approx(binary.hd(a, b, spacing))
    both = np.concatenate([there, back])
    assert np.percentile(both, 95) == pytest.approx(binary.hd95(a, b, spacing))
    assert assd == pytest.approx(both.mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its imports
def test_of_balls_surfaces_are_as_far_apart_as_by_triangles():
    """surface-distance weighs by area; of two balls about one centre, 10 and 13 voxels of 1 mm in
    radius, each distance is about 3 mm; half a voxel is what voxels and
    triangles differ by."""
    reference = pytest.importorskip("surface_distance", reason=WHY)
    grid = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), -1) - 15.5
    radius = np.linalg.norm(grid, axis=-1)
    a, b = radius <= 10, radius <= 13
    ours = metrics.score(a, b, labels=(True,), spacing=(1.0,) * 3, tolerance=3.0)[0]
    theirs = reference.compute_surface_distances(a, b, (1.0, 1.0, 1.0))
    assert ours[2] == pytest.approx(reference.compute_robust_hausdorff(theirs, 95), abs=0.5)
    mean = np.mean(reference.compute_average_surface_distance(theirs))
    assert ours[3] == pytest.approx(mean, abs=0.5)
    within = reference.compute_surface_dice_at_tolerance(theirs, 4.0)
    assert within == metrics.score(a, b, labels=(True,), spacing=(1.0,) * 3, tolerance=4.0)[0, 4]


def some_boxes(rng, count):
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(4, 30, (count, 2))], 1)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_coco(seed):
    """Of several images, with boxes that were missed, that are none, and that are nearly right."""
    coco = pytest.importorskip("pycocotools.coco", reason=WHY)
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason=WHY)
    rng = np.random.default_rng(seed)
    true, found, scores = [], [], []
    for _ in range(6):
        boxes = some_boxes(rng, rng.integers(1, 6))
        near = boxes[rng.random(len(boxes)) < 0.8] + rng.normal(0, 1.5, 4)
        guess = np.concatenate([near, some_boxes(rng, 3)])
        true, found = [*true, boxes], [*found, guess]
        scores.append(rng.permutation(len(guess)) / 10 + rng.random())
    counts = np.array([len(boxes) for boxes in true])
    table = np.full((len(true), max(map(len, found)), 11), np.nan)
    for i, (boxes, guess) in enumerate(zip(true, found, strict=True)):
        hits = box_metrics.match(scores[i], box_metrics.overlaps(guess, boxes))
        table[i, : len(guess)] = np.concatenate([scores[i][:, None], hits], 1)
    weight = np.ones((1, len(true)))
    with contextlib.redirect_stdout(io.StringIO()):
        judge = cocoeval.COCOeval(*as_coco(coco.COCO(), true, found, scores), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert box_metrics.average_precision_all(counts, table, weight)[0] == pytest.approx(
        judge.stats[0], abs=1e-9
    )
    assert box_metrics.average_precision(counts, table, weight)[0] == pytest.approx(
        judge.stats[1], abs=1e-9
    )


def as_coco(reference, true, found, scores):
    """Reference and predictions as COCO has them: corner, then width and height."""

    def sides(box):
        return [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]

    rows = [(i, box) for i, boxes in enumerate(true) for box in boxes]
    reference.dataset = {
        "images": [{"id": i} for i in range(len(true))],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": number,
                "image_id": i,
                "category_id": 1,
                "bbox": sides(box),
                "area": float(np.prod(box[2:] - box[:2])),
                "iscrowd": 0,
            }
            for number, (i, box) in enumerate(rows, start=1)
        ],
    }
    reference.createIndex()
    predicted = [
        {"image_id": i, "category_id": 1, "bbox": sides(box), "score": float(score)}
        for i, (boxes, of_image) in enumerate(zip(found, scores, strict=True))
        for box, score in zip(boxes, of_image, strict=True)
    ]
    return reference, reference.loadRes(predicted)

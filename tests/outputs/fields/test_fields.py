"""Scores of registration by hand, and what a run writes of it."""

import numpy as np
import pytest

from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.evaluation.metrics import evaluate
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.outputs.fields import FIELDS, metrics, pairs
from medjax.outputs.fields.predictions import FieldPredictions

INFO = DatasetInfo(
    "pairs",
    pairing="all with all",
    structures=("a", "b"),
    structure_values=(3, 5),
    landmarks=("p",),
    spacing_mm=(1.0, 2.0),
)
SPEC = ModelSpec(INFO, Preprocessing(0.0, 255.0, (0.0,), (1.0,)), (6, 8, 2), "uint8")
WORLD = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # x, y of row, column


def square(row, column, value):
    mask = np.zeros((6, 8), np.uint8)
    mask[row : row + 2, column : column + 2] = value
    return mask


@pytest.fixture
def split():
    """Two pairs, whose moving image is one column to the right of the fixed one."""
    fixed = square(1, 2, 1) + square(3, 4, 2)
    moving = np.roll(fixed, 1, 1)
    columns = {
        "size": np.array([6, 8]),
        "to_index": np.eye(3),
        "file_shape": np.array([6, 8]),
        "file_world": WORLD,
        "file_spacing": np.array([1.0, 2.0]),
        "oriented": np.bool_(True),
    }
    both = {f"{s}_{k}": np.stack([v] * 2) for s in ("fixed", "moving") for k, v in columns.items()}
    both |= {f"{s}_voxels": np.array([[4, 4]] * 2) for s in ("fixed", "moving")}
    points = {"fixed_points_vox": [[1.0, 2.0]], "moving_points_vox": [[1.0, 3.0]]}
    images = {"fixed": 40 * fixed, "moving": 40 * moving}
    on_demand = {
        **{f"{s}_values": lambda i, s=s: images[s].astype(np.int16) for s in images},
        "fixed_reference": lambda i: fixed,
        "moving_reference": lambda i: moving,
    }
    return Split(
        targets={
            "initial": np.stack([np.eye(2, 3)] * 2),
            **both,
            **{k: np.array([v] * 2) for k, v in points.items()},
        },
        case_id=["m to f", "m to g"],
        subject_id=["f", "g"],
        metadata=[{"fixed": "f", "moving": "m"}, {"fixed": "g", "moving": "m"}],
        read=lambda i: np.stack([images["fixed"], images["moving"]], -1).astype(np.uint8),
        image_shape=(6, 8, 2),
        image_dtype=np.dtype(np.uint8),
        on_demand=on_demand,
    )


def registered(split, *columns):
    """Each pair moved by so many columns: half as many voxels of the coarser grid."""
    u = np.zeros((2, 4, 4, 2), np.float32)  # of sides padded to 8 x 8
    for i, shift in enumerate(columns):
        u[i, ..., 1] = shift / 2
    predicted = {"displacement": u, "matrix": split["initial"].astype(np.float32)}
    return FIELDS.tabulate(split, SPEC, predicted)


def test_scores_by_hand(split):
    made = registered(split, 1.0, 0.0)
    names = FIELDS.metrics(SPEC, None)
    assert list(names) == [
        "dice",
        "dice_worst_30",
        "hd95_mm",
        "tre_mm",
        "folding",
        "log_jacobian_sd",
    ]
    values = made.values(names)
    np.testing.assert_allclose(made.dice, [[1.0, 1.0], [0.5, 0.5]])
    assert values["dice"] == pytest.approx(0.75)
    assert values["dice_worst_30"] == pytest.approx(0.5)
    assert values["hd95_mm"] == pytest.approx((0.0 + 2.0) / 2)  # a column is 2 mm wide
    assert values["tre_mm"] == pytest.approx(1.0)
    assert values["folding"] == 0 == values["log_jacobian_sd"]


def test_pairs_without_a_mask_have_no_overlap(split):
    split.targets["moving_voxels"][1] = 0
    made = registered(split, 1.0, 0.0)
    np.testing.assert_array_equal(np.isnan(made.dice), [[False] * 2, [True] * 2])
    assert made.values(FIELDS.metrics(SPEC, None))["dice"] == pytest.approx(1.0)
    assert not made.present[1].any()


def test_without_masks_and_points_the_images_are_compared(split):
    """Of both images the first pair is equal after a shift of one column, but for the border."""
    import dataclasses

    info = dataclasses.replace(INFO, structures=(), structure_values=(), landmarks=())
    spec = dataclasses.replace(SPEC, info=info)
    u = np.zeros((2, 4, 4, 2), np.float32)
    u[0, ..., 1] = 0.5
    made = FIELDS.tabulate(split, spec, {"displacement": u, "matrix": split["initial"]})
    assert list(FIELDS.metrics(spec, None)) == ["correlation", "folding", "log_jacobian_sd"]
    fixed, moving = (split.on_demand[f"{s}_values"](0).ravel() for s in ("fixed", "moving"))
    expected = [1.0, np.corrcoef(fixed, moving)[0, 1]]
    np.testing.assert_allclose(made.scores[:, made.columns.correlation], expected, atol=1e-6)


def test_before_is_the_baseline(split):
    before, text = FIELDS.baseline(split, split, SPEC)
    np.testing.assert_allclose(before.dice, 0.5)
    assert "before registration" in text


def test_the_worst_pairs_of_a_weighting():
    scores = np.array([[0.9], [0.5], [0.7], [np.nan], [0.1]])
    lowest = metrics.dice_worst_30
    one = {"places": slice(0, 1)}
    # Four are defined: 1.2 of them are the worst, 0.1 and a fifth of 0.5.
    assert evaluate(lambda p, s, w: lowest(p, s, w, **one), None or scores, scores) == (
        pytest.approx((0.1 + 0.2 * 0.5) / 1.2)
    )
    twice = lowest(None, scores, np.array([[1.0, 0.0, 0.0, 1.0, 9.0]]), **one)
    assert twice[0] == pytest.approx(0.1)


def test_folds_count_and_do_not_reach_the_deviation():
    share, deviation = metrics.score_jacobian(np.array([1.0, 1.0, -2.0, 0.0]))
    assert share == 0.5
    assert deviation == pytest.approx(np.std([0, 0, np.log(1e-3), np.log(1e-3)]))


def test_files_read_as_they_were_written(split, tmp_path):
    made = registered(split, 1.0, 0.0)
    wrote = made.write_files(tmp_path)
    assert wrote == ("affines/", "fields/", "warped/", "warped_masks/", "warped_points/")
    assert len(list((tmp_path / "fields").iterdir())) == 2
    again = FieldPredictions.read(tmp_path / "predictions.csv")
    np.testing.assert_allclose(again.scores, made.scores, rtol=1e-5)
    assert (again.fixed, again.moving, again.unit) == (["f", "g"], ["m", "m"], "mm")
    from PIL import Image

    points = (tmp_path / "warped_points" / "m to f.csv").read_text().splitlines()
    assert points == ["landmark,x_px,y_px", "p,2,1"]  # of row 1, column 3, one to the left
    mask = np.asarray(Image.open(tmp_path / "warped_masks" / "m to f.png"))
    np.testing.assert_array_equal(mask, np.array([0, 3, 5])[square(1, 2, 1) + square(3, 4, 2)])
    image = np.asarray(Image.open(tmp_path / "warped" / "m to f.tif"))  # 16 bits with a sign
    np.testing.assert_allclose(image, 40.0 * (square(1, 2, 1) + square(3, 4, 2)))


def test_the_first_axis_of_a_flat_volume_is_x(split, tmp_path):
    """A picture has rows, and points have x before y, however the file keeps them."""
    across = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    for side in ("fixed", "moving"):
        split.targets[f"{side}_file_world"] = np.stack([across] * 2)
    registered(split, 0.0, 0.0).write_files(tmp_path)
    from PIL import Image

    points = (tmp_path / "warped_points" / "m to f.csv").read_text().splitlines()
    assert points == ["landmark,x_px,y_px", "p,1,3"]
    mask = np.asarray(Image.open(tmp_path / "warped_masks" / "m to f.png"))
    expected = np.array([0, 3, 5])[split.on_demand["moving_reference"](0)]
    np.testing.assert_array_equal(mask, expected.T)


def test_a_pair_without_points_has_no_error(split):
    split.targets["moving_points_vox"][1] = np.nan
    made = registered(split, 0.5, 0.5)
    np.testing.assert_allclose(made.scores[:, made.columns.tre], [1.0, np.nan])
    assert made.values(FIELDS.metrics(SPEC, None))["tre_mm"] == pytest.approx(1.0)


def test_the_error_of_a_known_field_is_in_voxels(split):
    """A column is 2 mm wide, a row 1 mm: two columns off are 2 voxels."""
    import dataclasses

    split.targets["fixed_places_vox"] = np.array([[[1.0, 2.0]]] * 2)
    split.targets["moving_places_vox"] = np.array([[[1.0, 3.0]]] * 2)
    made = registered(split, 3.0, 1.0)
    spec = dataclasses.replace(SPEC, info=dataclasses.replace(INFO, known_places=1))
    assert "field_error_vox" in FIELDS.metrics(spec, None)
    np.testing.assert_allclose(made.scores[:, made.columns.field_error], [2.0, 0.0], atol=1e-6)
    assert made.has_places and not registered_without_places(split).has_places


def registered_without_places(split):
    for side in ("fixed", "moving"):
        del split.targets[f"{side}_places_vox"]
    return registered(split, 3.0, 1.0)


def test_two_runs_are_compared(split, tmp_path):
    for name, shift in (("a", 1.0), ("b", 0.0)):
        (tmp_path / name).mkdir()
        registered(split, shift, 0.0).write(tmp_path / name / "predictions.csv")
    files = [tmp_path / name / "predictions.csv" for name in "ab"]
    both = pairs.read_pair(*files, None)
    assert evaluate(both.metrics["dice"], both.reference, both.a) == pytest.approx(0.75)
    assert evaluate(both.metrics["dice"], both.reference, both.b) == pytest.approx(0.5)


def test_tables_of_another_form_are_told(tmp_path):
    from medjax.errors import UserError

    (tmp_path / "predictions.csv").write_text("case_id,x\na,1\n")
    with pytest.raises(UserError, match=r"not a predictions\.csv of registration"):
        FieldPredictions.read(tmp_path / "predictions.csv")

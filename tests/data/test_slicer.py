import json

import numpy as np
import pytest

from medjax.data import geometry, slicer
from medjax.errors import UserError
from tests.conftest import real_data

POINTS = {"left ear": (1.25, -2.5, 3.0), "nose": (0.1, 20.0, -4.75)}


@pytest.mark.parametrize("system", ["RAS", "LPS", "IJK"])
def test_the_three_conventions_round_trip_as_fcsv(tmp_path, system):
    slicer.write_fcsv(tmp_path / "a.fcsv", POINTS, system=system)
    assert slicer.read(tmp_path / "a.fcsv") == (POINTS, system)


@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_both_world_conventions_round_trip_as_json(tmp_path, system):
    nowhere = {**POINTS, "lost": (np.nan,) * 3}
    slicer.write_json(tmp_path / "a.mrk.json", nowhere, system=system)
    found, said = slicer.read(tmp_path / "a.mrk.json")
    assert said == system
    assert {k: found[k] for k in POINTS} == POINTS
    assert np.isnan(found["lost"]).all()


def test_ras_and_lps_differ_by_the_sign_of_x_and_y():
    point = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(geometry.ras(point, "LPS"), [-1.0, -2.0, 3.0])
    np.testing.assert_array_equal(geometry.ras(geometry.ras(point, "LPS"), "LPS"), point)
    np.testing.assert_array_equal(geometry.ras(point, "RAS"), point)
    with pytest.raises(ValueError, match="RAS, LPS"):
        geometry.ras(point, "LAS")


@pytest.mark.parametrize(("number", "system"), [("0", "RAS"), ("1", "LPS"), ("2", "IJK")])
def test_older_files_number_their_system_and_describe_their_points(tmp_path, number, system):
    (tmp_path / "a.fcsv").write_text(
        f"# Markups fiducial file version = 4.6\n# CoordinateSystem = {number}\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "n1,1,2,3,0,0,0,1,1,1,0,1,AC,v\nn2,4,5,6,0,0,0,1,1,1,0,2,PC,v\n"
    )
    assert slicer.read(tmp_path / "a.fcsv") == ({"AC": (1, 2, 3), "PC": (4, 5, 6)}, system)


def test_the_published_afids_are_those_of_the_project():
    from medjax.data.afids import AFIDS_RAS_MM

    folder = real_data("afids_mni")
    found, system = slicer.read(folder / "tpl-MNI152NLin2009bSym_res-1_desc-groundtruth_afids.fcsv")
    assert system == "RAS"
    assert list(found) == list(AFIDS_RAS_MM)
    np.testing.assert_allclose(list(found.values()), list(AFIDS_RAS_MM.values()), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "not a point list"),
        (json.dumps({"markups": []}), "holds 0 point lists where there should be one"),
        (
            json.dumps(
                {"markups": [{"type": "Fiducial", "coordinateSystem": "XYZ", "controlPoints": []}]}
            ),
            "does not say whether .* RAS or LPS",
        ),
        (
            json.dumps(
                {
                    "markups": [
                        {
                            "type": "Fiducial",
                            "coordinateSystem": "LPS",
                            "controlPoints": [
                                {"label": "a", "position": [0, 0, 0]},
                                {"label": "a", "position": [1, 0, 0]},
                            ],
                        }
                    ]
                }
            ),
            "stands in it twice",
        ),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, words):
    (tmp_path / "a.mrk.json").write_text(text)
    with pytest.raises(UserError, match=words):
        slicer.read(tmp_path / "a.mrk.json")


def test_a_list_without_a_system_is_refused(tmp_path):
    (tmp_path / "a.fcsv").write_text("# Markups fiducial file version = 4.6\n1,2,3\n")
    with pytest.raises(UserError, match="not a point list"):
        slicer.read(tmp_path / "a.fcsv")


SLICER_5 = '''# Markups fiducial file version = 5.6
# CoordinateSystem = LPS
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,1.5,2.5,3.5,0,0,0,1,1,1,0,"left, upper ""tip""",a  note,,2,0
2,0,0,0,0,0,0,1,1,1,0,not placed,,,0,0
3,0,0,0,0,0,0,1,1,1,0,skipped,,,4,0
4,7,8,9,0,0,0,1,1,1,0, nose ,,,2,0
'''


def test_the_sixteen_fields_of_slicer_5(tmp_path):
    (tmp_path / "a.fcsv").write_text(SLICER_5)
    found, system = slicer.read(tmp_path / "a.fcsv")
    assert system == "LPS"
    assert found['left, upper "tip"'] == (1.5, 2.5, 3.5)
    assert found["nose"] == (7.0, 8.0, 9.0)
    assert np.isnan([found["not placed"], found["skipped"]]).all()


def test_lists_round_trip_with_what_was_not_found(tmp_path):
    points = {'a, "b"': (1.0, -2.0, 3.0), "lost": (np.nan,) * 3}
    slicer.write_fcsv(tmp_path / "a.fcsv", points)
    found, _ = slicer.read(tmp_path / "a.fcsv")
    np.testing.assert_array_equal(list(found.values()), list(points.values()))
    assert list(found) == list(points)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("um", 1e-3), ("m", 1e3), ("cm", 10.0)])
def test_units_of_markups(tmp_path, unit, factor):
    text = {
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": unit,
                "controlPoints": [{"label": "a", "position": [1, 2, 3]}],
            }
        ]
    }
    (tmp_path / "a.mrk.json").write_text(json.dumps(text))
    np.testing.assert_allclose(
        slicer.read(tmp_path / "a.mrk.json")[0]["a"], factor * np.array([1, 2, 3])
    )


def test_several_lists_in_one_file_are_told_in_plain_words(tmp_path):
    one = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": []}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [one, one, {"type": "Line"}]}))
    with pytest.raises(
        UserError,
        match=r"holds 2 point lists where there should be one .it has "
        r"Fiducial, Fiducial, Line.; save each list in a file",
    ):
        slicer.read(tmp_path / "a.mrk.json")


def test_lists_named_in_two_ways_do_not_belong_together(tmp_path):
    head = SLICER_5[: SLICER_5.index("1,1.5")]
    (tmp_path / "a.fcsv").write_text(head + "1,1,2,3,0,0,0,1,1,1,0,1,AC,,2,0\n")
    (tmp_path / "b.fcsv").write_text(head + "1,1,2,3,0,0,0,1,1,1,0,1,,,2,0\n")
    with pytest.raises(UserError, match=r"a\.fcsv: its landmarks are named by descriptions"):
        slicer.check_names([tmp_path / "a.fcsv", tmp_path / "b.fcsv"])
    (tmp_path / "a.fcsv").write_text(
        head + "1,1,2,3,0,0,0,1,1,1,0,1,AC,,2,0\n2,1,2,3,0,0,0,1,1,1,0,2,,,2,0\n"
    )
    with pytest.raises(UserError, match="the point '2' has no description where others have one"):
        slicer.read(tmp_path / "a.fcsv")


def test_a_comma_in_a_number_is_no_field_more(tmp_path):
    head = SLICER_5[: SLICER_5.index("1,1.5")]
    (tmp_path / "a.fcsv").write_text(head + "1,1,5,2,3,0,0,0,1,1,1,0,7,,x\n")  # x is 1,5
    with pytest.raises(UserError, match=r"15 fields, more than 14; .* written with commas"):
        slicer.read(tmp_path / "a.fcsv")

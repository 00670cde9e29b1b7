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
        "n1,1,2,3,0,0,0,1,1,1,0,1,AC,v\nn2,4,5,6,0,0,0,1,1,1,0,2,PC,v\n")
    assert slicer.read(tmp_path / "a.fcsv") == ({"AC": (1, 2, 3), "PC": (4, 5, 6)}, system)


def test_the_published_afids_are_those_of_the_project():
    from medjax.data.afids import AFIDS_RAS_MM

    folder = real_data("afids_mni")
    found, system = slicer.read(
        folder / "tpl-MNI152NLin2009bSym_res-1_desc-groundtruth_afids.fcsv")
    assert system == "RAS"
    assert list(found) == list(AFIDS_RAS_MM)
    np.testing.assert_allclose(list(found.values()), list(AFIDS_RAS_MM.values()), atol=1e-4)


@pytest.mark.parametrize(("text", "words"), [
    ("nonsense", "not a point list"),
    (json.dumps({"markups": []}), "holds 0 point lists where there should be one"),
    (json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": "XYZ",
                              "controlPoints": []}]}), "does not say whether .* RAS or LPS"),
    (json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
        {"label": "a", "position": [0, 0, 0]}, {"label": "a", "position": [1, 0, 0]}]}]}),
     "stands in it twice"),
])
def test_bad_lists_are_refused(tmp_path, text, words):
    (tmp_path / "a.mrk.json").write_text(text)
    with pytest.raises(UserError, match=words):
        slicer.read(tmp_path / "a.mrk.json")


def test_a_list_without_a_system_is_refused(tmp_path):
    (tmp_path / "a.fcsv").write_text("# Markups fiducial file version = 4.6\n1,2,3\n")
    with pytest.raises(UserError, match="not a point list"):
        slicer.read(tmp_path / "a.fcsv")

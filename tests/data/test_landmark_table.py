import numpy as np
import pytest

from medjax.data import landmark_table
from medjax.errors import UserError


def read(tmp_path, text, **options):
    (tmp_path / "landmarks.csv").write_text(text)
    return landmark_table.read(tmp_path / "landmarks.csv", **{"ndim": 2, **options})


def test_long_and_wide_form_say_the_same(tmp_path):
    long = read(
        tmp_path,
        "image,landmark,x,y,split\na.png,nose,1,2,train\na.png,ear,3,4,train\nb.png,nose,5,6,val\n",
    )
    wide = read(
        tmp_path, "image,nose_x,nose_y,ear_x,ear_y,split\na.png,1,2,3,4,train\nb.png,5,6,,,val\n"
    )
    assert long["a.png"].points == wide["a.png"].points == {"nose": (1, 2), "ear": (3, 4)}
    assert long["b.png"].points == {"nose": (5, 6)}
    assert np.isnan(wide["b.png"].points["ear"]).all()
    assert long["b.png"].row["split"] == wide["b.png"].row["split"] == "val"
    assert long["a.png"].system == wide["a.png"].system == "pixel"


@pytest.mark.parametrize(
    ("columns", "wish", "system"),
    [
        ("i,j,k", "", "voxel"),
        ("x_lps_mm,y_lps_mm,z_lps_mm", "", "LPS"),
        ("x_ras_mm,y_ras_mm,z_ras_mm", "", "RAS"),
        ("x,y,z", "LPS", "LPS"),
        ("x,y,z", "RAS", "RAS"),
        ("x_mm,y_mm,z_mm", "LPS", "LPS"),
        ("x,y,z", "pixel", "pixel"),
        ("x,y,z", "voxel", "voxel"),
    ],
)
def test_columns_or_the_flag_say_what_coordinates_are(tmp_path, columns, wish, system):
    found = read(tmp_path, f"volume,name,{columns}\nv.nii,tip,1,2,3\n", ndim=3, coordinates=wish)
    assert found["v.nii"].system == system
    assert found["v.nii"].points == {"tip": (1, 2, 3)}


def test_of_several_systems_one_can_be_chosen(tmp_path):
    text = "volume,landmark,x_lps_mm,y_lps_mm,z_lps_mm,i,j,k\nv,tip,1,2,3,4,5,6\n"
    assert read(tmp_path, text, ndim=3)["v"].points == {"tip": (4, 5, 6)}
    assert read(tmp_path, text, ndim=3, coordinates="LPS")["v"].points == {"tip": (1, 2, 3)}


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("volume,landmark,x,y,z\nv,a,1,2,3\n", {"ndim": 3}, "`coordinates=LPS`, RAS"),
        ("volume,landmark,x_mm,y_mm,z_mm\nv,a,1,2,3\n", {"ndim": 3}, "LPS or RAS"),
        ("image,landmark,x,y\nv,a,1,2\n", {"ndim": 3}, "no columns of 3-D coordinates"),
        (
            "image,landmark,x,y\na,n,1,2\na,n,1,2\n",
            {},
            "line 3: the landmark 'n' of a stands .* twice",
        ),
        ("image,n_x,n_y\na,1,2\na,1,2\n", {}, "line 3: a stands in the table twice"),
        ("image,landmark,x,y\na,n,one,2\n", {}, "line 2: .* are no coordinates"),
        ("image,landmark,x,y\na,n,1,\n", {}, "line 2: .* 'n' 1 of 2 coordinates are empty"),
        ("image,landmark,x,y\na,n,1,nan\n", {}, "line 2: .* 1 of 2 coordinates are empty"),
        ("image,landmark,x,y\na,n,1,inf\n", {}, "line 2: .* are no coordinates"),
        ("image,n_x,n_y,m_x\na,1,2,3\n", {}, "the column m_x has no partner for y"),
        ("image,landmark,x,y,x\na,n,1,2,3\n", {}, "the column 'x' stands twice in its header"),
        ("image,landmark,x,y\na,n,1,2,3\n", {}, "line 2: has 5 fields where the header has 4"),
        ("image,landmark,x,y\na,n,1\n", {}, "line 2: has 3 fields where the header has 4"),
        ("image;landmark;x;y\na;n;1;2\n", {}, "separated by ';'; save it with commas"),
        ("image,landmark,x,y\n,n,1,2\n", {}, "line 2: names no image"),
        ("image,landmark,x,y\na,,1,2\n", {}, "line 2: names no landmark"),
        ("picture,landmark,x,y\na,n,1,2\n", {}, "no column of the images .* `path_column`"),
        ("image,x,y\na,1,2\n", {}, "no column of the landmarks .* `name_column`"),
        ("image,landmark,x,y\na,n,1,2\n", {"path_column": "imag"}, "did you mean image"),
        ("image,landmark,x,y\na,n,1,2\n", {"coordinates": "lps"}, "known are LPS, RAS"),
        ("image,landmark,x,y\na,n,1,2\n", {"coordinates": "RAS"}, "no 2-D columns of RAS"),
        ("image,landmark,x,y\n", {}, "has no rows"),
    ],
)
def test_unclear_tables_are_refused(tmp_path, text, options, words):
    with pytest.raises(UserError, match=words):
        read(tmp_path, text, **options)


@pytest.mark.parametrize(
    ("header", "ndim", "wish", "system"),
    [
        ("x,y,x_mm,y_mm", 2, "", "pixel"),
        ("x_mm,y_mm,x,y", 2, "", "pixel"),
        ("i,j,k,x,y,z", 3, "", "voxel"),
        ("i,j,k,x_mm,y_mm,z_mm", 3, "", "voxel"),
        ("x,y,z,x_mm,y_mm,z_mm", 3, "voxel", "voxel"),
    ],
)
def test_millimetres_beside_pixels_are_not_taken_for_them(tmp_path, header, ndim, wish, system):
    """Whichever stand last."""
    columns = header.split(",")
    values = [
        "10.5" if c.endswith("_mm") or (c in "xyz" and "i" in columns) else "2" for c in columns
    ]
    path = tmp_path / "landmarks.csv"
    path.write_text(f"image,landmark,{header}\na.png,tip,{','.join(values)}\n")
    entry = landmark_table.read(path, coordinates=wish, ndim=ndim)["a.png"]
    assert (entry.system, entry.points["tip"]) == (system, (2.0,) * ndim)


def test_sizes_along_an_axis_are_no_landmarks(tmp_path):
    text = "image,nasion_x,nasion_y,pixel_spacing_x,pixel_spacing_y\na.png,1,2,0.5,0.5\n"
    assert set(read(tmp_path, text)["a.png"].points) == {"nasion"}


def test_other_columns_of_a_long_table_are_no_half_landmarks(tmp_path):
    rows = read(tmp_path, "image,landmark,x,y,width_x\na.png,p,1,2,7\n")
    assert rows["a.png"].points == {"p": (1.0, 2.0)}

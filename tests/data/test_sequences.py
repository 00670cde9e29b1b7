"""Sets of sequences: files of every kind, published layouts, and what is made."""

import csv

import numpy as np
import pytest

from medjax.data import source
from medjax.data.sequence_options import SequenceOptions
from medjax.data.sequences import SETS, files, heart, published, sweep
from medjax.errors import UserError
from medjax.outputs.frames.serve import list_files
from tests.conftest import real_data


def frames_of(count, *, side=16):
    """Frame t has the value 10 t, and a bright corner that tells rows from columns."""
    out = (
        np.zeros((count, side, side + 4), np.uint8)
        + 10 * np.arange(count, dtype=np.uint8)[:, None, None]
    )
    out[:, :2, -2:] = 250
    return out


def write_nifti(path, frames, *, planes=0, unit="msec"):
    """`[t, y, x]` as x, y[, z], t with 40 ms a frame."""
    import nibabel

    volume = frames.transpose(2, 1, 0).astype(np.int16)
    volume = np.stack([volume] * planes, 2) if planes else volume
    image = nibabel.Nifti1Image(volume, np.diag([1.5, 2.0, 8.0, 1.0]))
    image.header.set_zooms((1.5, 2.0, *([8.0] if planes else []), 40.0))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)


def write_gif(path, frames):
    from PIL import Image

    first, *rest = [Image.fromarray(f) for f in frames]
    first.save(path, save_all=True, append_images=rest, duration=50, loop=0)


@pytest.mark.parametrize("side", [400, 65535])
def test_a_frame_larger_than_the_first_is_refused_before_it_is_decoded(tmp_path, side):
    """A few bytes of the second frame say so; the header tells of 6 x 6."""
    write_gif(tmp_path / "a.gif", np.arange(2 * 36, dtype=np.uint8).reshape(2, 6, 6))
    content = bytearray((tmp_path / "a.gif").read_bytes())
    second = content.rindex(bytes([0x2C, 0, 0, 0, 0]))
    content[second + 5 : second + 9] = side.to_bytes(2, "little") * 2
    (tmp_path / "a.gif").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"a\.gif: .*more than `max_image_gb=0.001`"):
        files.read(tmp_path / "a.gif", limit_bytes=1_000_000)


def write_video(path, frames, *, rate=25):
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg" if path.suffix == ".avi" else "mpeg4", rate=rate)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuvj420p" if path.suffix == ".avi" else "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.stack([frame] * 3, -1), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_folder(path, frames):
    from PIL import Image

    path.mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{t:03d}.png")


def write_dicom(path, frames):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    record = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    record.NumberOfFrames, record.Rows, record.Columns = frames.shape
    record.SamplesPerPixel, record.PhotometricInterpretation = 1, "MONOCHROME2"
    record.BitsAllocated = record.BitsStored = 8
    record.HighBit, record.PixelRepresentation = 7, 0
    record.FrameTime = "33.0"
    record.PixelData = frames.tobytes()
    record.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("name", "write", "frame_ms", "tolerance"),
    [
        ("a.nii.gz", write_nifti, 40.0, 0),
        ("a.gif", write_gif, 50.0, 4),
        ("a.avi", write_video, 40.0, 6),
        ("a.mp4", write_video, 40.0, 12),
        ("a", write_folder, None, 0),
        ("a.dcm", write_dicom, 33.0, 0),
    ],
)
def test_every_kind_of_file_gives_its_frames(tmp_path, name, write, frame_ms, tolerance):
    frames = frames_of(5)
    write(tmp_path / name, frames)
    clip = files.read(tmp_path / name)
    assert clip.frames.shape == (5, 16, 20, 1)
    apart = np.abs(clip.frames[..., 0].astype(float) - frames)
    assert np.median(apart) <= tolerance
    assert apart[:, :2, -2:].mean() <= 4 * tolerance
    assert clip.frame_ms == (pytest.approx(frame_ms) if frame_ms else None)
    assert files.count(tmp_path / name) == (5, 1)


def test_time_units_and_pixels_of_a_nifti(tmp_path):
    write_nifti(tmp_path / "a.nii", frames_of(3), planes=2, unit="sec")
    clip = files.read(tmp_path / "a.nii", plane=1)
    assert clip.frame_ms == pytest.approx(40_000)
    assert clip.spacing_mm == (2.0, 1.5)  # height, width
    assert files.count(tmp_path / "a.nii") == (3, 2)
    write_nifti(tmp_path / "b.nii", frames_of(3), unit="unknown")
    assert files.read(tmp_path / "b.nii").frame_ms is None


@pytest.fixture
def folder(tmp_path):
    """Six subjects, two frames named in each; one is a volume of two planes."""
    root = tmp_path / "set"
    root.mkdir()
    rows = []
    for i in range(6):
        name = f"case{i}"
        if i == 0:
            write_nifti(root / f"{name}.nii.gz", frames_of(7), planes=2)
        else:
            write_gif(root / f"{name}.gif", frames_of(4 + i))
        rows += [[name, f"s{i}", "ED", 0], [name, f"s{i}", "ES", 2]]
    table(root, rows)
    return root


def table(root, rows, head=("case", "subject_id", "name", "index")):
    with (root / "frames.csv").open("w", newline="") as f:
        csv.writer(f).writerows([head, *rows])


def load(root, cache, name="sequence_folder", **options):
    return source.load(
        name, options=SequenceOptions(data_dir=str(root), **options), cache_dir=cache
    )


def test_a_folder_of_ones_own(folder, tmp_path):
    found = load(folder, tmp_path / "cache")
    assert found.info.frames == ("ED", "ES")
    assert not found.info.cyclic
    assert {s for split in found.splits.values() for s in split.case_id} == {
        "case0:0",
        "case0:1",
        *(f"case{i}" for i in range(1, 6)),
    }
    for split in found.splits.values():
        for i, case in enumerate(split.case_id):
            number = int(case[4])
            length = 7 if number == 0 else 4 + number
            assert split["length"][i] == length
            np.testing.assert_array_equal(split["marks"][i].argmax(0), [0, 2])
            assert split["marks"][i].sum() == 2
            assert split["frame_ms"][i] == (40.0 if number == 0 else 50.0)
            image = split.read(i)
            assert image.shape[0] == 9
            assert image[:length].any()
            assert not image[length:].any()


def test_both_planes_of_a_subject_are_in_one_split(folder, tmp_path):
    found = load(folder, tmp_path / "cache")
    assert any({"case0:0", "case0:1"} <= set(s.case_id) for s in found.splits.values())


def test_frames_brought_to_one_shape(folder, tmp_path):
    found = load(folder, tmp_path / "cache", image_shape=(8, 8))
    assert found.splits["train"].image_shape == (9, 8, 8, 1)
    with pytest.raises(UserError, match="size of its pixels is not known"):
        load(folder, tmp_path / "cache", image_shape=(8, 8), grid_mm=2.0)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([["case1", "s", "ED", 9]], r"frames.csv, line 2: ED at frame 9, but .* frames 0 to 4"),
        ([["case1", "s", "ED", -1]], "ED at frame -1"),
        ([["case1", "s", "ED", "x"]], "line 2: 'x' is no whole number"),
        ([["none", "s", "ED", 1]], "line 2: no such sequence file: .*none; `path_folder`"),
        ([["../case1", "s", "ED", 1]], "leaves the folder"),
        ([["case1", "s", "ED", 1]], "no row of frames.csv names a frame of it"),
    ],
)
def test_bad_tables_are_told_in_one_line(folder, tmp_path, rows, words):
    table(folder, rows)
    with pytest.raises(UserError, match=words) as e:
        load(folder, tmp_path / "cache")
    assert "\n" not in str(e.value)


def test_bad_files_are_told_in_one_line(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    write_gif(root / "one.gif", frames_of(1))
    table(root, [["one", "s", "ED", 0]])
    with pytest.raises(UserError, match="has 1 frame; a sequence has two or more"):
        load(root, tmp_path / "cache")
    (root / "broken.avi").write_bytes(b"RIFFno")
    with pytest.raises(UserError, match=r"broken.avi: unreadable or truncated sequence"):
        files.read(root / "broken.avi")
    write_folder(root / "odd", frames_of(3))
    from PIL import Image

    Image.fromarray(frames_of(1)[0, :5]).save(root / "odd" / "001.png")
    with pytest.raises(UserError, match=r"001.png: its size or type differs"):
        files.read(root / "odd")
    (root / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures in it"):
        files.read(root / "empty")
    with pytest.raises(UserError, match="no such sequence file"):
        files.read(root / "nothing.nii.gz")
    table(root, [["one", 1]], head=("case", "index"))
    with pytest.raises(UserError, match="no column 'name'"):
        load(root, tmp_path / "cache")


def test_acdc_in_its_layout(tmp_path):
    for i in range(1, 8):
        place = tmp_path / ("testing" if i > 5 else "training") / f"patient{i:03d}"
        place.mkdir(parents=True)
        write_nifti(place / f"patient{i:03d}_4d.nii.gz", frames_of(6), planes=2)
        (place / "Info.cfg").write_text("ED: 1\nES: 4\nGroup: DCM\nHeight: 180\n")
    found = load(tmp_path, tmp_path / "cache", name="acdc")
    assert found.info.cyclic
    assert len(found.splits["test"]) == 4
    np.testing.assert_array_equal(found.splits["test"]["marks"][0].argmax(0), [0, 3])
    assert found.splits["test"].metadata[0] == {"group": "DCM"}
    (tmp_path / "training" / "patient001" / "Info.cfg").write_text("ED: 1\n")
    with pytest.raises(UserError, match="has no line 'ES'"):
        SETS["acdc"](SequenceOptions(data_dir=str(tmp_path)))


def test_echonet_in_its_layout(tmp_path):
    pytest.importorskip("av")
    (tmp_path / "Videos").mkdir()
    names, tracings = [], []
    for i, split in enumerate(["TRAIN", "TRAIN", "VAL", "TEST"]):
        write_video(tmp_path / "Videos" / f"0X{i}.avi", frames_of(20))
        names.append([f"0X{i}", 55.0, 20, 25, split])
        for frame, size in ((11, 4.0), (6, 8.0)):  # the larger one, frame 6, is ED
            tracings += [
                [f"0X{i}.avi", 5, 0, 5, 10, frame],
                [f"0X{i}.avi", 0, 0, size, 0, frame],
                [f"0X{i}.avi", 0, 10, size, 10, frame],
            ]
    for name, head, rows in (
        ("FileList", ("FileName", "EF", "NumberOfFrames", "FPS", "Split"), names),
        ("VolumeTracings", ("FileName", "X1", "Y1", "X2", "Y2", "Frame"), tracings),
    ):
        with (tmp_path / f"{name}.csv").open("w", newline="") as f:
            csv.writer(f).writerows([head, *rows])
    found = load(tmp_path, tmp_path / "cache", name="echonet_dynamic")
    for split in found.splits.values():
        for i, more in enumerate(split.metadata):
            ed, es = split["marks"][i].argmax(0) + int(more["first_frame"])
            assert (ed, es) == (6, 11)
            assert split["frame_ms"][i] == pytest.approx(40.0)
            assert split["length"][i] <= 16


def test_the_area_of_a_tracing():
    """Chords across a rectangle 4 wide and 10 high; the first line is the long axis."""
    chords = np.array([[5, 0, 5, 10], [0, 0, 4, 0], [0, 5, 4, 5], [0, 10, 4, 10]], float)
    assert published._area(chords) == pytest.approx(40.0)


def test_sunnybrook_leaves_one_patient_out(tmp_path):
    root = real_data("sunnybrook_cine")
    seen = []
    for fold in range(1, 5):
        found = SETS["sunnybrook_cine"](SequenceOptions(data_dir=str(root), published_fold=fold))
        seen.append({c.subject for c in found.cases if c.split == "test"})
        assert len({c.subject for c in found.cases if c.split == "train"}) == 2
    assert len(set.union(*seen)) == 4
    assert all(len(s) == 1 for s in seen)


def test_the_heart_beats_as_it_says():
    for index in range(5):
        frames, marks, frame_ms = heart.draw(1, index)
        again = heart.draw(1, index)
        np.testing.assert_array_equal(frames, again[0])
        assert 16 <= len(frames) <= 28
        assert 600 <= frame_ms * len(frames) <= 1100
        made = heart.make(np.random.default_rng([1, index]))
        phase = np.linspace(0, 1, 1000, endpoint=False)
        curve = heart.volume(made, phase)
        assert phase[curve.argmax()] == pytest.approx(0.0)
        assert phase[curve.argmin()] == pytest.approx(made.systole, abs=0.002)
        assert curve.min() == pytest.approx(1 - made.ejected, abs=0.01)
        apart = (marks["ES"][0] - marks["ED"][0]) % len(frames)
        assert apart == pytest.approx(made.systole * len(frames), abs=1.5)


def test_a_sweep_shows_every_plane():
    frames, marks = sweep.draw(1, 0)
    assert frames.shape[1:] == (sweep.SIDE, sweep.SIDE, 1)
    assert set(marks) == set(sweep.PLANES)
    assert all(marks.values())
    order = [np.mean(marks[name]) for name in sweep.PLANES]  # from front to back, or back to front
    assert order == sorted(order) or order == sorted(order)[::-1]


def test_the_letters_of_columns_may_be_large(folder, tmp_path):
    rows = [["case0", "s0", "ED", 0, 1, 30], ["case0", "s0", "ES", 2, 1, 30]]
    marks = (("ED", 0), ("ES", 2))
    rows += [[f"case{i}", f"s{i}", n, j, "", 30] for i in range(1, 6) for n, j in marks]
    table(folder, rows, ("Case", "Subject_ID", "Name", "Index", "Slice", "Frame_ms"))
    found = load(folder, tmp_path / "cache")
    assert {s for split in found.splits.values() for s in split.case_id} == {
        "case0:1",
        *(f"case{i}" for i in range(1, 6)),
    }
    assert all((split["frame_ms"] == 30).all() for split in found.splits.values())
    assert "1 plane left out" in " ".join(found.notes)


def test_pictures_beside_videos_are_none_of_their_frames(tmp_path):
    for name in ("a.gif", "b.gif"):
        write_gif(tmp_path / name, frames_of(4))
    write_folder(tmp_path / "c", frames_of(3))
    for name in ("view1.png", "view2.png"):
        (tmp_path / name).write_bytes((tmp_path / "c").joinpath("000.png").read_bytes())
    paths, left_out = list_files(tmp_path, None)
    assert paths == [tmp_path / "a.gif", tmp_path / "b.gif", tmp_path / "c"]
    assert left_out == {".png": 2}


def test_a_fold_of_more_patients_than_there_are_is_refused(tmp_path):
    (tmp_path / "patients.csv").write_text("patient,ed_index,es_index\na,0,1\nb,0,1\nc,0,1\n")
    with pytest.raises(UserError, match="has 3 patients"):
        SETS["sunnybrook_cine"](SequenceOptions(data_dir=str(tmp_path), published_fold=4))

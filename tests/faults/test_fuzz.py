"""Readers of files that others made, on mutated ones: an error of ours or an answer, never a
traceback, a hang, or a file outside the folder.

A few hundred inputs here; `pytest -m slow tests/faults/test_fuzz.py` has 2,000, and five times as
many with FUZZ=5 in its environment.
"""

import io
import json
import os
import random
import signal
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from medjax import bundle
from medjax.bundle import archive
from medjax.data import images, landmark_table, slicer, source
from medjax.data.options import DataOptions
from medjax.data.sequences import files as sequence_files
from medjax.errors import UserError
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.outputs.landmarks.report import LandmarkPredictions

SECONDS = 20  # after which it counts as a hang


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four small changes: flips, cuts, repeats, odd numbers, pieces of other places."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, size = rng.randrange(len(out) + 1), rng.choice([1, 2, 4, 8, 64])
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = out[at : at + size] * rng.randint(1, 3)
        elif kind == 3:
            out[at : at + size] = (
                rng.choice(
                    [
                        b"\xff",
                        b"\0",
                        b"9",
                        b"-",
                        b"\n",
                        b",",
                        b'"',
                        b"{",
                        b"nan",
                        b"1e999",
                        b"\x1b[2J",
                        b"../",
                    ]
                )
                * size
            )
        elif kind == 4:
            out = out[:at] or out
        else:
            other = rng.randrange(len(out) + 1)
            out[at : at + size] = out[other : other + size]
    return bytes(out)


def picture(kind):
    rng, buffer = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (9, 11)).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def nifti(folder, suffix):
    import nibabel

    path = folder / f"x{suffix}"
    shape = (4, 5, 3, 2) if suffix.startswith("_") else (4, 5, 3)
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), path)
    return path.read_bytes()


def gif():
    buffer = io.BytesIO()
    first, *rest = [Image.fromarray(np.full((6, 6), 40 * i, np.uint8)) for i in range(4)]
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=40)
    return buffer.getvalue()


TABLE = "image,landmark,x,y,split,spacing_mm\n0.png,a,1,2,train,0.5\n0.png,b,3,4,train,0.5\n"
LISTS = {"A": (1.0, 2.0, 3.0), "B": (4.0, 5.0, 6.0)}


def seeds(folder):
    """Reader and valid contents by kind."""
    made = {}
    for suffix, kind in ((".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF"), (".bmp", "BMP")):
        made[f"image{suffix}"] = (images.read, picture(kind))
    for suffix in (".nii", ".nii.gz"):
        made[f"volume{suffix}"] = (images.read, nifti(folder, suffix))
        made[f"cine{suffix}"] = (sequence_files.read, nifti(folder, "_" + suffix))
    made["cine.gif"] = (sequence_files.read, gif())
    made["landmarks.csv"] = (lambda p: landmark_table.read(p, ndim=2), TABLE.encode())
    for name, write in (("points.mrk.json", slicer.write_json), ("points.fcsv", slicer.write_fcsv)):
        write(folder / name, LISTS)
        made[name] = (slicer.read, (folder / name).read_bytes())
    LabelPredictions(
        ["a", "b"], ["s", "t"], np.array([0, 1]), np.array([[0.5, 0.5], [0.1, 0.9]]), ["x", "y"]
    ).write(folder / "predictions.csv")
    made["predictions.csv"] = (LabelPredictions.read, (folder / "predictions.csv").read_bytes())
    points = np.ones((1, 2, 3))
    LandmarkPredictions(
        ["a"], ["s"], ("x", "y"), points, points, points, points, np.ones((1, 2))
    ).write(folder / "points.csv")
    made["points.csv"] = (LandmarkPredictions.read, (folder / "points.csv").read_bytes())
    return made


@pytest.fixture
def limited():
    """No call takes longer than SECONDS."""

    def late(number, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    yield lambda: signal.alarm(SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def tried(call, limited, counts):
    """Counts an answer or an error of ours; all else fails the test."""
    limited()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what decoders find odd
            call()
        counts["answers"] += 1
    except UserError as e:
        assert "\n" not in str(e), str(e)
        counts["told"] += 1
    finally:
        signal.alarm(0)


def fuzz_files(folder, count, limited):
    work = folder / "work"
    work.mkdir()
    kinds, counts = seeds(folder), {"answers": 0, "told": 0}
    rng = random.Random(0)
    around = sorted(p.name for p in folder.iterdir())
    for name, (read, content) in kinds.items():
        read_ok = work / name
        read_ok.write_bytes(content)
        read(read_ok)  # the seed itself is fine
        for _ in range(count // len(kinds)):
            path = work / name
            path.write_bytes(mutated(content, rng))
            tried(lambda path=path, read=read: read(path), limited, counts)
    assert sorted(p.name for p in folder.iterdir()) == around
    return counts


def fuzz_bundles(files, folder, count, limited):
    """A third as archives; a third as contents that are sealed again, so that the reading goes
    deeper; a third of these are settings that stay JSON."""
    counts, rng = {"answers": 0, "told": 0}, random.Random(1)
    archive.write_zip(folder / "whole.zip", files)
    whole = (folder / "whole.zip").read_bytes()
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    bare = {k: v for k, v in files.items() if k != "manifest.json"}
    around = sorted(p.name for p in folder.iterdir())
    for number in range(count):
        if number % 3 == 0:
            path = folder / "whole.zip"
            path.write_bytes(mutated(rng.choice([whole, plain.getvalue()]), rng))
            tried(lambda path=path: bundle.load(path), limited, counts)
            continue
        name = rng.choice(sorted(bare)) if number % 3 == 1 else bundle.ABOUT
        content = mutated(bare[name], rng) if number % 3 == 1 else settings(bare[name], rng)
        sealed = bundle.sealed({**bare, name: content})
        tried(lambda sealed=sealed: bundle.opened(sealed, where="b"), limited, counts)
    assert sorted(p.name for p in folder.iterdir()) == around
    return counts


def settings(content, rng):
    """The same JSON with one value that is another."""
    value = json.loads(content)
    place = value
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.8:
            place = place[key]
            continue
        place[key] = rng.choice(
            [
                None,
                -1,
                0,
                1,
                3,
                10**6,
                2**70,
                1e300,
                0.5,
                "",
                "x",
                "cnn",
                True,
                [],
                [1] * 5,
                {},
                {"a": 1},
                "../../etc",
                "\x1b[31m",
            ]
        )
        return json.dumps(value).encode()


def test_a_few_hundred_files(tmp_path, limited):
    counts = fuzz_files(tmp_path, 450, limited)
    assert counts["told"] > 100


def test_a_few_hundred_bundles(classifier, tmp_path, limited):
    counts = fuzz_bundles(classifier.files, tmp_path, 120, limited)
    assert counts["told"] > 50


def test_image_folders_with_mutated_tables(tmp_path, cache_dir, folder_of_images, limited):
    """The whole way, from a damaged `metadata.csv` to the prepared set."""
    rows = [
        f"{p.relative_to(folder_of_images)},{p.parent.name},{i}"
        for i, p in enumerate(sorted(folder_of_images.rglob("*.png")))
    ]
    table, counts = "\n".join(["path,label,subject", *rows]) + "\n", {"answers": 0, "told": 0}
    rng = random.Random(2)
    for _ in range(30):
        (folder_of_images / "metadata.csv").write_bytes(mutated(table.encode(), rng))
        tried(
            lambda: source.load(
                "image_folder",
                options=DataOptions(data_dir=str(folder_of_images)),
                cache_dir=tmp_path / "cache",
            ),
            limited,
            counts,
        )
    assert counts["told"]


@pytest.mark.slow
def test_thousands(classifier, tmp_path, limited):
    (tmp_path / "f").mkdir()
    (tmp_path / "b").mkdir()
    times = int(os.environ.get("FUZZ", "1"))
    files = fuzz_files(tmp_path / "f", 1440 * times, limited)
    bundles = fuzz_bundles(classifier.files, tmp_path / "b", 560 * times, limited)
    print(f"\nfiles: {files}; bundles: {bundles}")
    assert (
        sum(files.values()) + sum(bundles.values()) >= 1980 * times
    )  # a few kinds of file less than a round number

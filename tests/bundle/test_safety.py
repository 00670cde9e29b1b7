"""Reading a bundle that a stranger made, or that was damaged on the way, does no harm."""

import dataclasses
import hashlib
import io
import json
import os
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest

from medjax import bundle, weights
from medjax.bundle import archive, limits, manifest
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import Description, ModelSpec
from medjax.tasks.classification.predictor import ClassificationPredictor
from tests.bundle.conftest import made, rewritten
from tests.conftest import ROOT


def zipped(path, entries):
    """An archive as other programs write it; entries are (name or ZipInfo, content)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two entries with one name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in entries:
                out.writestr(name, content)
    return path


def test_a_folder_and_archives_hold_the_same(classifier, tmp_path):
    archive.write_folder(tmp_path / "folder", classifier.files)
    archive.write_zip(tmp_path / "ours.zip", classifier.files)
    zipped(tmp_path / "others.zip", classifier.files.items())
    for name in ("folder", "ours.zip", "others.zip"):
        assert archive.read(tmp_path / name) == classifier.files
        assert (
            bundle.load(tmp_path / name).digest == bundle.opened(classifier.files, where="b").digest
        )
    archive.write_zip(tmp_path / "again.zip", classifier.files)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "ours.zip").read_bytes()


def test_one_flipped_bit_anywhere_is_found_and_named(classifier, tmp_path):
    """400 bits of the files, of which small ones get as many as large ones."""
    rng = np.random.default_rng(0)
    names = sorted(classifier.files)
    for i in range(400):
        name = names[i % len(names)]
        content = bytearray(classifier.files[name])
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        with pytest.raises(UserError) as e:
            bundle.opened({**classifier.files, name: bytes(content)}, where="b")
        assert name in str(e.value) and "\n" not in str(e.value)


def test_one_flipped_bit_anywhere_in_an_archive_is_found(classifier, tmp_path):
    path = tmp_path / "b.zip"
    archive.write_zip(path, classifier.files)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    tail = range(8 * (len(whole) - 150), 8 * len(whole))  # the end record, the seal: every bit
    for bit in [*tail, *rng.integers(0, 8 * len(whole), 300)]:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"b\.zip"):
            archive.read(path)


@pytest.mark.parametrize("cut", [0, 1, 22, 1000, -1, -30, -200])
def test_a_cut_archive_is_told(classifier, tmp_path, cut):
    path = tmp_path / "b.zip"
    archive.write_zip(path, classifier.files)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"b\.zip"):
        bundle.load(path)


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../evil", b"x")], "no name of a file"),
        ([("/etc/passwd", b"x")], "no name of a file"),
        ([("a/b", b"x")], "which is flat"),
        ([("a\\b", b"x")], "no name of a file"),
        ([("C:evil", b"x")], "no name of a file"),
        ([(".hidden", b"x")], "no name of a file"),
        ([("a\x00b", b"x")], "manifest"),
        ([("x" * 70, b"x")], "no name of a file"),
        ([(link("weights.safetensors"), b"/etc/passwd")], "is a link or folder"),
        ([("folder/", b"")], "no name of a file"),
        ([("a", b"x"), ("A", b"y")], "two files have one name"),
        ([("a", b"x"), ("a", b"y")], "two files have one name"),
        ([(f"f{i}", b"") for i in range(40)], "holds 40 files"),
        ([("a", b"x")], "no manifest"),
        ([], "is empty"),
    ],
)
def test_archives_that_a_bundle_never_is(tmp_path, entries, words):
    with pytest.raises(UserError, match=words):
        bundle.load(zipped(tmp_path / "b.zip", entries))
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """A gigabyte of zeros is a megabyte of archive; one that lies of its size is caught too."""
    path = zipped(tmp_path / "b.zip", [("a", bytes(10**8))])
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match="larger than `limit_gb`"):
        archive.read(path, limit_bytes=10**7)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):  # says that it holds 10 bytes
        at = content.index(mark) + offset
        content[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        archive.read(path, limit_bytes=10**7)


def test_a_list_of_very_many_files_is_refused_before_it_is_read(tmp_path):
    path = zipped(tmp_path / "b.zip", [(f"f{i}", b"") for i in range(2000)])
    with pytest.raises(UserError, match="holds too many files"):
        archive.read(path)


def test_an_encrypted_entry_is_refused(classifier, tmp_path):
    path = zipped(tmp_path / "b.zip", [("a", b"x")])
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="encrypted"):
        archive.read(path)


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "many", "large"])
def test_folders_that_a_bundle_never_is(classifier, tmp_path, kind):
    folder = tmp_path / "b"
    archive.write_folder(folder, classifier.files)
    (folder / "weights.safetensors").unlink()
    if kind == "link":
        (tmp_path / "secret").write_bytes(classifier.files["weights.safetensors"])
        (folder / "weights.safetensors").symlink_to(tmp_path / "secret")
    elif kind == "folder":
        (folder / "weights.safetensors").mkdir()
    elif kind == "pipe":
        os.mkfifo(folder / "weights.safetensors")
    elif kind == "many":
        for i in range(40):
            (folder / f"f{i}").touch()
    else:
        with (folder / "weights.safetensors").open("wb") as f:
            f.truncate(10**12)  # a terabyte that takes no room
    words = {
        "link": "a link",
        "folder": "no regular file",
        "pipe": "no regular file",
        "many": "holds 4. files",
        "large": "larger than `limit_gb`",
    }
    with pytest.raises(UserError, match=words[kind]):
        bundle.load(folder)


def test_what_is_missing_or_too_many_is_named(classifier):
    files = dict(classifier.files)
    with pytest.raises(UserError, match=r"report\.json: missing"):
        bundle.opened({k: v for k, v in files.items() if k != "report.json"}, where="b")
    with pytest.raises(UserError, match=r"setup\.py: not listed"):
        bundle.opened({**files, "setup.py": b"print('run')"}, where="b")
    newer = json.loads(files["manifest.json"])
    newer["format"] = 7
    with pytest.raises(UserError, match="has format 7, and this medjax reads up to 1"):
        bundle.opened({**files, "manifest.json": json.dumps(newer).encode()}, where="b")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "os"}, "experiment 'os' is not known"),
        ({"how__model": "__import__('os').system('true')"}, "describes no network .*unknown model"),
        ({"how__model": 3}, "how: model: 3 is no str"),
        ({"how__tta": "many"}, "is no int"),
        ({"how__tta": True}, "is no int"),
        ({"how__tta": 10**12}, "`tta=.*`: at most 1000"),
        ({"how__tta": -1}, "out of range"),
        ({"how__more": 1}, "unknown field 'more'"),
        ({"how": None}, "no object with the fields of ClassificationPredictor"),
        ({"how": {}}, "'model' is missing"),
        ({"trained__image_shape": [10**6, 10**6, 1]}, "image_shape .* is out of range"),
        ({"trained__image_shape": []}, "out of range"),
        ({"trained__image_shape": "12"}, "is no list"),
        ({"trained__image_shape": [12, 12, 3]}, "preprocessing does not fit images of 3 channels"),
        ({"trained__seeds": 3}, "weights.safetensors"),
        ({"trained__seeds": 0}, "out of range"),
        ({"how__model": "mlp"}, "weights.safetensors: lacks params/dense1"),
        ({"trained__preprocessing__mean": [None]}, "is no float"),
        ({"trained__preprocessing__high": float("nan")}, "NaN is no JSON"),
        ({"trained__info__classes": ["a"] * 3}, "weights.safetensors"),
        ({"how__dtype": "object"}, "describes no network"),
        ({"trained__info__name": "\x1b[2J"}, "control characters"),
        ({"trained__preprocessing__low": 10**400}, "is no float"),
        ({"trained__preprocessing__sd": [1.0, 1.0]}, "preprocessing does not fit"),
        ({"trained__window": [1.0]}, "window is no range"),
        ({"trained__image_shape": [17_000, 17_000, 1]}, "image_shape .* out of range"),
        ({"trained__quantity_scale": [[0.0, 1.0]]}, "quantity_scale does not fit the quantities"),
        ({"trained__info__quantities": ["age"]}, "more than one of classes, findings and quant"),
    ],
)
def test_settings_that_no_bundle_has(classifier, changes, words):
    """The manifest agrees with each, so nothing but the reading itself stands in their way."""
    with pytest.raises(UserError, match=words) as e:
        bundle.opened(rewritten(classifier.files, **changes), where="b")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "scale",
    [(), ((1.0, 0.0),), ((1.0, -1.0),), ((1.0, 1e-38),), ((1e38, 1.0),), ((1.0, 1.0),) * 2],
)
def test_a_scale_that_quantities_cannot_have(scale):
    scaling = Preprocessing(0.0, 1.0, (0.0,), (1.0,))
    info = DatasetInfo("x", quantities=("age",))
    spec = ModelSpec(info, scaling, (8, 8, 1), "uint8", quantity_scale=scale)
    with pytest.raises(UserError, match="b: quantity_scale does not fit"):
        limits.check_sizes(ClassificationPredictor(head="quantities"), spec, "b")
    fit = dataclasses.replace(spec, quantity_scale=((50.0, 10.0),))
    limits.check_sizes(ClassificationPredictor(head="quantities"), fit, "b")


def test_weights_that_are_pickles_or_others_are_refused(classifier):
    import pickle

    class Evil:
        def __reduce__(self):
            return os._exit, (3,)

    content = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    arrays = weights.parse(content["weights.safetensors"], where="b")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    first = next(iter(arrays))
    import safetensors.numpy

    bad = {
        "pickle": (pickle.dumps(Evil()), "no weights that can be read"),
        "npz": (buffer.getvalue(), "no weights that can be read"),
        "empty": (b"", "no weights"),
        "more": (safetensors.numpy.save({**arrays, "x": np.zeros(1)}), "'x' is no part"),
        "fewer": (safetensors.numpy.save({k: v for k, v in arrays.items() if k != first}), "lacks"),
        "half": (
            safetensors.numpy.save({k: v.astype(np.float16) for k, v in arrays.items()}),
            "is float16",
        ),
    }
    for bytes_, words in bad.values():
        with pytest.raises(UserError, match=words):
            bundle.opened(bundle.sealed({**content, "weights.safetensors": bytes_}), where="b")


def test_signatures_prove_who_made_it(classifier, tmp_path):
    import subprocess

    for name in ("mine", "others"):
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        subprocess.run(
            ["openssl", "pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    files = dict(classifier.files)
    with pytest.raises(UserError, match="is not signed"):
        manifest.check_signature(files, tmp_path / "mine.pub", where="b")
    files["manifest.sig"] = manifest.sign(files["manifest.json"], tmp_path / "mine.pem")
    manifest.check(files, where="b")
    manifest.check_signature(files, tmp_path / "mine.pub", where="b")
    with pytest.raises(UserError, match=r"not by the owner of .*others\.pub"):
        manifest.check_signature(files, tmp_path / "others.pub", where="b")
    other = rewritten(files, how__tta=1)
    with pytest.raises(UserError, match="not by the owner"):
        manifest.check_signature(
            {**other, "manifest.sig": files["manifest.sig"]}, tmp_path / "mine.pub", where="b"
        )
    for i in range(8 * len(files["manifest.sig"])):  # each bit of it, where no key is given
        content = bytearray(files["manifest.sig"])
        content[i // 8] ^= 1 << (i % 8)
        with pytest.raises(UserError, match=r"manifest\.sig"):
            manifest.check({**files, "manifest.sig": bytes(content)}, where="b")
    for key, words in (("mine.pub", "no readable key"), ("nothing.pem", "no readable key")):
        with pytest.raises(UserError, match=words):
            manifest.sign(files["manifest.json"], tmp_path / key)


def test_a_manifest_nested_deep_is_told(classifier):
    content = b'{"made_by": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    for depth in (content, content.replace(b"[" * 4100, b"").replace(b"]" * 4100, b"")):
        with pytest.raises(UserError, match=r"manifest\.json"):
            bundle.opened({**classifier.files, "manifest.json": depth}, where="b")


def test_a_run_that_changed_since_its_report_is_not_shared(classifier, tmp_path):
    import shutil

    from medjax.bundle.card import Notes

    run = tmp_path / "run"
    shutil.copytree(classifier.workdir, run)
    (run / "weights.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match="run the experiment with `eval_only`"):
        bundle.make(run, notes=Notes("x"))
    (run / "report.json").unlink()
    with pytest.raises(UserError, match=r"no readable report\.json"):
        bundle.make(run, notes=Notes("x"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "[]", r"no readable config\.json"),
        ("config.json", "[" * 100_000, r"no readable config\.json"),
        ("config.json", '{"experiment": "classify"}', r"config\.json has no how, trained"),
        (
            "config.json",
            '{"experiment": "classify", "how": {}, "trained": {}}',
            "'model' is missing",
        ),
        ("report.json", "null", r"no readable report\.json"),
        ("report.json", "{}", r"report\.json has no metrics, .*`eval_only`"),
        ("weights.safetensors", None, r"weights\.safetensors: No such file"),
        ("weights.safetensors", "folder", r"weights\.safetensors: Is a directory"),
    ],
)
def test_a_work_directory_that_was_damaged_is_told(classifier, tmp_path, name, content, words):
    import shutil

    from medjax.bundle.card import Notes

    for kept in ("config.json", "report.json", weights.NAME):
        shutil.copy(classifier.workdir / kept, tmp_path / kept)
    (tmp_path / name).unlink()
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words):
        bundle.make(tmp_path, notes=Notes("x"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1, "a": 2}', "named twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": Infinity}', "no JSON"),
        (b"[" * 50 + b"]" * 50, "nested too deeply"),
        (b"\xff{}", "no JSON"),
        (b"[]", "no JSON object"),
        (b'{"a": "\\u001b[2J"}', "control charac"),
    ],
)
@pytest.mark.parametrize("name", [bundle.ABOUT, bundle.REPORT])
def test_json_that_two_readers_would_read_differently(classifier, name, content, words):
    files = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    with pytest.raises(UserError, match=words):
        bundle.opened(bundle.sealed({**files, name: content}), where="b")


@pytest.mark.parametrize(
    ("experiment", "changes"),
    [
        ("classify", {"trained__seeds": 900, "trained__image_shape": [16_000, 16_000, 1]}),
        ("heatmap", {"how__width": 90_000, "trained__image_shape": [4000, 4000, 1]}),
        ("search", {"how__starts": 90_000, "how__trail": 90_000}),
        ("temporal", {"how__smooth": 99_999, "trained__image_shape": [90_000, 16, 16, 1]}),
    ],
)
def test_settings_that_are_too_large_together(experiment, changes, tmp_path_factory, cache_dir):
    """Each is in range, their product is not; nothing of that size is ever made."""
    files = made(experiment, tmp_path_factory, cache_dir).files
    with pytest.raises(UserError, match=r"its settings together need .* GB to answer"):
        bundle.opened(rewritten(files, **changes), where="b")


def test_the_arrays_inside_the_network_count_too():
    """Of a matrix [3, 1000] and what a loop makes of it, four bytes a number, by hand."""
    import jax
    import jax.numpy as jnp

    from medjax.bundle import memory

    def function(x, w):
        return jax.lax.fori_loop(0, 3, lambda _, y: (jnp.tile(y, (5, 1)) @ w).mean() + y, x).sum()

    found = memory.bytes_of(
        function,
        jax.ShapeDtypeStruct((3, 10), np.float32),
        jax.ShapeDtypeStruct((10, 1000), np.float32),
    )
    assert found == 4 * (30 + 10_000) + 2 * 4 * (5 * 3 * 1000)


def test_layers_larger_than_the_memory_are_refused(tmp_path_factory, cache_dir, monkeypatch):
    """The image is small beside what the network makes of it: four bytes of 4 channels at least."""
    files = made("heatmap", tmp_path_factory, cache_dir).files
    monkeypatch.setattr("medjax.train.mesh.memory_bytes", lambda: 2 * 10**9)
    with pytest.raises(UserError, match=r"its settings together need .* GB to answer"):
        bundle.opened(rewritten(files, trained__image_shape=[8192, 8192, 1]), where="b")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(classifier, bad):
    import safetensors.numpy

    content = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    arrays = weights.parse(content["weights.safetensors"], where="b")
    name = max(arrays, key=lambda n: arrays[n].size)
    changed = arrays[name].copy()
    changed.reshape(-1)[-1] = bad
    content["weights.safetensors"] = safetensors.numpy.save({**arrays, name: changed})
    with pytest.raises(UserError, match="not finite"):
        bundle.opened(bundle.sealed(content), where="b")


def test_the_compiled_function_belongs_to_its_weights(classifier):
    import safetensors.numpy

    content = {k: v for k, v in classifier.files.items() if k != "manifest.json"}
    arrays = {k: v + 1 for k, v in weights.parse(content[weights.NAME], where="b").items()}
    with pytest.raises(UserError, match=r"model\.stablehlo was not made for these weights"):
        bundle.opened(
            bundle.sealed({**content, weights.NAME: safetensors.numpy.save(arrays)}), where="b"
        )
    with pytest.raises(UserError, match=r"model\.stablehlo was not made for these weights"):
        bundle.opened(bundle.sealed({**content, "model.stablehlo": b"other"}), where="b")
    about = json.loads(content[bundle.ABOUT])
    digest = about["exported"]["weights_sha256"]
    untold = json.dumps({k: v for k, v in about.items() if k != "exported"}).encode()
    junk = {
        **about,
        "exported": {"sha256": hashlib.sha256(b"junk").hexdigest(), "weights_sha256": digest},
    }
    for changed in (
        {bundle.ABOUT: untold, "model.stablehlo": b"anything"},
        {bundle.ABOUT: json.dumps(junk).encode(), "model.stablehlo": b"junk"},
    ):
        with pytest.raises(UserError, match=r"model\.stablehlo was not made for these weights"):
            bundle.opened(bundle.sealed({**content, **changed}), where="b")
    content.pop("model.stablehlo")
    with pytest.raises(UserError, match=r"model\.stablehlo is missing"):
        bundle.opened(bundle.sealed(content), where="b")


def test_who_made_it_and_which_it_is(classifier, tmp_path):
    archive.write_folder(tmp_path / "b", classifier.files)
    digest = bundle.load(tmp_path / "b").digest
    assert bundle.load(tmp_path / "b", sha256=digest.upper()).digest == digest
    with pytest.raises(UserError, match=f"its sha256 is {digest}, not the one"):
        bundle.load(tmp_path / "b", sha256="0" * 64)
    with pytest.raises(UserError, match="is not signed"):
        bundle.load(tmp_path / "b", public_key=tmp_path / "key.pub")


def test_a_comment_behind_the_end_record_is_no_hiding_place(classifier, tmp_path):
    """Readers that search from the end would find another archive in it."""
    archive.write_zip(tmp_path / "b.zip", classifier.files)
    whole = (tmp_path / "b.zip").read_bytes()
    for more in (b"x", b"PK\5\6" + bytes(18), whole):
        (tmp_path / "b.zip").write_bytes(whole + more)
        with pytest.raises(UserError, match=r"b\.zip"):
            archive.read(tmp_path / "b.zip")


def test_a_bundle_prints_three_lines(classifier):
    text = repr(bundle.opened(classifier.files, where="b"))
    assert len(text.splitlines()) == 3
    assert len(text) < 500
    assert "bright, dark" in text


def test_words_of_strangers_stay_words_in_the_card(classifier):
    from medjax.bundle import card

    notes = card.Notes(
        "<script>",
        authors="A}, url={http://x",
        limits="[click](http://x)\n# No",
        licence='mit"\nlicense: none',
        intended_use="![x](http://y)",
    )
    config = json.loads(classifier.files[bundle.ABOUT])
    report = json.loads(classifier.files[bundle.REPORT])
    description = Description("names <b>things</b>", ("<i>", "[y](http://z)"))
    text = card.write(classifier.files, report, config, notes, description=description, inputs=())
    body = text.split("---", 2)[2].split("```")[0]  # a block of code shows what it holds
    assert not any(tag in body for tag in ("<script>", "<b>", "<i>"))
    assert "](http" not in re.sub("`[^`]*`", "", body)
    assert card.text("see https://evil.example or me@evil.example") == (
        "`see https://evil.example or me@evil.example`"
    )  # as code it is no link
    assert "\n# No" not in body
    assert len([line for line in text.splitlines() if line.startswith("license:")]) == 1


def test_leftovers_of_a_killed_make_are_no_hindrance(classifier, tmp_path):
    (tmp_path / "b.zip.part").write_bytes(b"half")
    archive.write_zip(tmp_path / "b.zip", classifier.files)
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]
    archive.write_folder(tmp_path / "b", classifier.files)
    assert archive.read(tmp_path / "b") == classifier.files


def test_nothing_of_this_machine_is_shared(shared):
    """No path of data, work or cache; no case or subject."""
    for name, content in shared.files.items():
        for secret in (shared.workdir, shared.data, ROOT):
            assert str(secret).encode() not in content, name

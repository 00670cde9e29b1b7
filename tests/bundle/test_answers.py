"""A bundle answers as the run did that it was made of, wherever it is."""

import csv
import functools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from experiments import segment
from medjax import app, bundle
from medjax.bundle import archive
from medjax.data import preprocess
from medjax.data.patches import draw_patches
from medjax.errors import ExitError, UserError
from medjax.outputs.base import PreparedImage
from medjax.outputs.boxes import BoxMeasures
from medjax.outputs.boxes.serve import BoxAnswer
from medjax.outputs.embeddings.serve import Embedding
from medjax.outputs.frames.serve import FrameAnswer
from medjax.outputs.landmarks.serve import LandmarkAnswer
from medjax.outputs.masks.serve import MaskAnswer
from medjax.tasks.base import inputs_of
from medjax.tasks.search import predictor as search
from medjax.tasks.search import run as search_run
from medjax.tasks.search import task as tasks
from medjax.tools import predict
from medjax.train.predict import compile_predict
from medjax.train.record import read_lines
from medjax.weights import parse
from tests.bundle.conftest import load_set

COLUMNS = {
    "classify": ("p_bright", "p_dark"),
    "detect": ("score", "xmin", "ymax"),
    "heatmap": ("x", "y", "x_mm", "y_mm"),
    "retrieve": (),  # a run says what its queries have found, a bundle what describes an image
    "search": ("x_mm", "y_mm", "z_mm"),
    "segment": ("size",),
    "temporal": ("frame", "score"),
}
OLD = {
    "x": "pred_x",
    "y": "pred_y",
    "x_mm": "pred_x_mm",
    "y_mm": "pred_y_mm",
    "z_mm": "pred_z_mm",
    "frame": "pred_index",
    "size": "size_predicted",
}


def rows_of(path):
    """Boxes, of which a case has several, get a number as their name."""
    with path.open() as f:
        rows = [r for r in csv.DictReader(f) if r.get("what", "predicted") == "predicted"]
    if rows and "xmin" in rows[0]:
        counts = Counter()
        for row in rows:
            counts[row["case_id"]] += 1
            row["name"] = str(counts[row["case_id"]])
    return rows


def answered(config_flags):
    predict.main(app.parse(predict.Config, ["predict", *config_flags], "predict"))


def test_predictions_are_those_of_the_run(shared, tmp_path, cache_dir):
    """Moved to another folder as an archive; the files are the test split's, in another order."""
    file = "consensus.csv" if shared.experiment == "search" else "predictions.csv"
    expected = rows_of(shared.workdir / file)
    source = tmp_path / "images"
    cases = list(dict.fromkeys(r["case_id"] for r in expected))
    for i, case in enumerate(cases):
        target = source / f"{len(cases) - i:03}" / case
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (shared.data / case).is_dir() else shutil.copy)(
            shared.data / case, target
        )
    archive.write_zip(tmp_path / "moved" / "b.zip", shared.files)
    answered(
        [
            f"--bundle={tmp_path}/moved/b.zip",
            f"--input={source}",
            f"--output={tmp_path}/out",
            f"--cache_dir={cache_dir}",
            "--spacing_mm=0.5",
            "--batch=2",
        ]
    )
    found = [
        {**r, "case_id": r["case_id"].partition("/")[2]}
        for r in rows_of(tmp_path / "out" / "predictions.csv")
    ]
    assert [r["case_id"] for r in found] == sorted(
        (r["case_id"] for r in found), key=cases.index, reverse=True
    )
    key = next(k for k in ("landmark", "name", "structure", "case_id") if k in expected[0])
    assert {(r["case_id"], r[key]) for r in found} == {(r["case_id"], r[key]) for r in expected}
    for row in found:
        old = next(r for r in expected if (r["case_id"], r[key]) == (row["case_id"], row[key]))
        for column in COLUMNS[shared.experiment]:
            assert float(row[column]) == pytest.approx(
                float(old[OLD.get(column, column)]), rel=1e-4, abs=1e-4
            ), (row, old)
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == len(
        {r["case_id"] for r in expected}
    )
    assert (tmp_path / "out" / "landmarks").is_dir() == (shared.experiment == "search")
    assert (tmp_path / "out" / "scores.csv").exists() == (shared.experiment == "temporal")


def on_split(model, split, config, gallery):
    """The metric that chooses the checkpoint, of the weights of a run, on a split: what the run
    itself would have found, by another way."""
    how, spec, weights = model.predictor, model.spec, model.weights
    if model.experiment != "search":
        columns = [one.column for one in inputs_of(how, spec)[1:]]
        compiled = compile_predict(how.make_task(spec).predict)
        infer = functools.partial(how.output.infer, how, compiled, weights)
        found = infer(split, spec, columns=columns, batch=4, gallery=gallery).by_seed
        if model.experiment == "classify":
            rows, label = np.arange(len(split)), split["label"]
            return np.mean([-np.log(p[rows, label]) for p in found["probability"]])
        each = [
            how.output.tabulate(split, spec, {k: v[s] for k, v in found.items()})
            for s in range(spec.seeds)
        ]
        declared = {"detect": ("map_50", BoxMeasures()), "retrieve": ("ap_at_5", None)}
        if model.experiment in declared:
            name, measures = declared[model.experiment]
            return np.mean([f.values(how.output.metrics(spec, measures))[name] for f in each])
        if model.experiment == "segment":
            return np.mean([np.nanmean(f.scores[..., 0]) for f in each])
        if model.experiment == "heatmap":
            return np.mean([np.nanmean(f.error_mm) for f in each])
        return np.mean([np.abs(f.off) for f in each])
    game = how.game(spec.image_shape[:-1])
    found = search_run.explore(
        functools.partial(
            search.by_value(tasks.walk, how.make_agent(spec, game), game), weights[0]
        ),
        split,
        search_run.on_device(split, game=game),
        names=spec.info.landmarks,
        count=config["validation_starts"],
        seed=config["seed"],
        margin=how.margin,
    )
    return np.nanmean(found.error_mm)


def test_validation_chose_and_training_scaled(shared, cache_dir):
    """Neither the checkpoint nor the scaling of pixels knows anything of the test split."""
    config = json.loads((shared.workdir / "config.json").read_text())
    dataset = load_set(shared, cache_dir)
    model = bundle.opened(shared.files, where="b")
    report = json.loads((shared.workdir / "report.json").read_text())
    name = "loss" if shared.experiment == "classify" else report["validation"]["metric"]
    chosen = next(
        line[f"validation_{name}"]
        for line in read_lines(shared.workdir / "metrics.jsonl")
        if line["step"] == report["best_step"]
    )
    train = dataset.splits["train"]
    values = {name: on_split(model, split, config, train) for name, split in dataset.splits.items()}
    assert chosen == pytest.approx(values["validation"], rel=1e-4)
    # A detector that has hardly learned meets no box at all, in either; codes meet every class.
    assert shared.experiment in ("detect", "retrieve") or abs(chosen - values["test"]) > 1e-3
    scaled = {}
    for name, split in dataset.splits.items():
        if shared.experiment == "segment":  # by its patches
            split = drawn(split, config)  # noqa: PLW2901

        def read(index, split=split):
            if shared.experiment != "temporal":
                return split.images(index)
            return np.concatenate([split.read(int(i))[: split["length"][i]] for i in index])

        scaled[name] = preprocess.fit(read, len(split))
    assert model.spec.preprocessing == scaled["train"]
    assert scaled["train"] not in (scaled["validation"], scaled["test"])


def drawn(split, config):
    """The patches that a run would train on."""
    return draw_patches(
        split,
        patch=tuple(config["patch"]),
        a_case=segment.PATCHES_A_CASE,
        structure_share=config["structure_share"],
        structures=len(config["structures"]),
        seed=config["seed"],
    )


@pytest.mark.slow
def test_the_card_tells_how_to_do_without_medjax(shared, tmp_path):
    """Its code is run as it stands, where medjax cannot be imported."""
    folder = tmp_path / "bundle"
    archive.write_folder(folder, shared.files)
    model = bundle.load(folder)
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    rng = np.random.default_rng(0)
    images_ = rng.integers(0, 255, (3, *model.spec.image_shape)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images_)
    shape = model.spec.image_shape[:-1]
    box = np.array([[[1] * len(shape), np.array(shape) - i] for i in range(3)], np.int32)
    more = {
        "temporal": ", np.full(3, 6, np.int32)",
        "search": f", np.array({box.tolist()}, np.int32)",
    }.get(shared.experiment, "")
    program = (
        f"import sys; sys.modules['medjax'] = None; import numpy as np\n"
        f"inputs = (np.load({str(tmp_path / 'x.npy')!r}){more},)\n"
        + code.replace("THIS_FOLDER", str(folder))
        + f"\nnp.savez({str(tmp_path / 'y.npz')!r}, **(answers if isinstance(answers, dict) "
        "else {'out': answers}))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    there = np.load(tmp_path / "y.npz")
    boxes = box if shared.experiment == "search" else [None] * 3
    cases = [ready(model, image, box) for image, box in zip(images_, boxes, strict=True)]
    for i, here in enumerate(model.answers(3)(cases)):
        if isinstance(here, LandmarkAnswer):
            np.testing.assert_allclose(there["points"][i], here.points_vox, atol=2e-3)
            np.testing.assert_allclose(there["confidence"][i], here.confidence, atol=2e-4)
        elif isinstance(here, FrameAnswer):
            np.testing.assert_allclose(there["out"][i, :6], here.score, atol=2e-4)
        elif isinstance(here, BoxAnswer):
            scores = there["scores"][i]
            np.testing.assert_allclose(scores[~np.isnan(scores)], here.scores, atol=2e-4)
        elif isinstance(here, Embedding):
            np.testing.assert_array_equal(there["out"][i], here.vector)
        elif isinstance(here, MaskAnswer):
            np.testing.assert_array_equal(there["out"][i].argmax(-1), here.mask)
        else:
            np.testing.assert_allclose(there["out"][i], list(here.probability.values()), atol=2e-4)


def ready(model, image, box=None):
    """What a prediction takes, of an image that is on the grid already."""
    shape, info = image.shape[:-1], model.spec.info
    unit = np.eye(len(shape) + 1)
    box = np.array([np.zeros(len(shape), int), shape]) if box is None else box
    return PreparedImage(
        image,
        "image",
        {
            "landmarks": np.full((len(info.landmarks), len(shape)), np.nan),
            "to_world": unit,
            "to_file": unit,
            "box": box,
            "known": np.bool_(True),
            "length": np.int32(6),
            "marks": np.zeros((image.shape[0], len(info.frames)), np.uint8),
            "frame_ms": np.float64(np.nan),
            "size": np.array(shape, np.int32),
            "to_index": unit,
            "file_shape": np.array(shape, np.int32),
            "file_world": unit,
            "file_spacing": np.ones(len(shape)),
            "oriented": np.bool_(True),
            "file_boxes": np.full((1, 2 * len(shape)), np.nan),
            "file_size": np.array(shape[::-1], np.float32),
            "box_label": np.full(1, -1, np.int32),
        },
    )


def test_from_python_by_an_array(shared):
    model = bundle.opened(shared.files, where="b")
    expected = {
        "classify": (12, 12),
        "detect": (32, 40),
        "heatmap": (30, 40),
        "search": (20, 18, 16),
        "retrieve": (12, 12),
        "segment": (14, 12, 9),
        "temporal": (5, 16, 16),
    }[shared.experiment]
    image = np.random.default_rng(0).integers(0, 255, expected).astype(np.uint8)
    more = (
        {"affine": np.diag([2.0, 2, 2, 1])}
        if len(expected) == 3 and shared.experiment != "temporal"
        else {}
    )
    answer = model.predict(image, spacing_mm=0.5, **more)
    again = model.predict(image[..., None], spacing_mm=0.5, **more)
    saved_as_rgb = np.stack([image] * 3, -1)
    equal = model.predict(saved_as_rgb, spacing_mm=0.5, **more)
    for one, *others in zip(answer.rows(), again.rows(), equal.rows(), strict=True):
        assert all(str(one) == str(other) for other in others)
    saved_as_rgb[0, ..., 0] += 1
    with pytest.raises(UserError, match="channel"):
        model.predict(saved_as_rgb, spacing_mm=0.5, **more)


def test_sizes_that_nobody_knows(shared):
    """Without a spacing there is no answer on a grid in mm, and it is told."""
    if shared.experiment not in ("heatmap", "search"):
        pytest.skip("needs no spacing")
    model = bundle.opened(shared.files, where="b")
    shape = (30, 40) if shared.experiment == "heatmap" else (20, 18, 16)
    with pytest.raises(UserError, match=r"size of its pixels is not known.*`spacing_mm`"):
        model.predict(np.zeros(shape, np.uint8))


def test_bad_files_are_listed_and_do_not_stop_the_rest(classifier, tmp_path, cache_dir, capfd):
    source = tmp_path / "in"
    shutil.copytree(classifier.data, source)
    (source / "bright" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (source / "dark" / "large.png").write_bytes(_png((40, 30)))
    (source / "dark" / "notes.txt").write_text("no image")
    (source / "dark" / "00.png").rename(source / "dark" / "a$^$.png")  # no formula
    shutil.copy(source / "dark" / "01.png", source / "dark_01.png")  # the name of an overlay
    archive.write_folder(tmp_path / "b", classifier.files)
    common = [f"--bundle={tmp_path}/b", f"--input={source}", f"--cache_dir={cache_dir}"]
    with pytest.raises(ExitError) as e:
        answered([*common, f"--output={tmp_path}/out"])
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 25
    assert e.value.code == 1
    told = capfd.readouterr().err
    assert "2 of 27 could not be answered" in told
    assert re.search(r"broken\.png: unreadable", told)
    assert re.search(r"large\.png: has the shape \(40, 30\).*--resize", told)
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 25
    with pytest.raises(ExitError):
        answered([*common, f"--output={tmp_path}/again", "--resize", "--overlays=0"])
    assert len(rows_of(tmp_path / "again" / "predictions.csv")) == 26


def test_one_output_takes_one_process_and_equal_complaints_are_one_line(
    classifier, tmp_path, cache_dir, capfd
):
    from medjax import lock

    source = tmp_path / "in"
    source.mkdir()
    for i in range(5):
        (source / f"{i}.png").write_bytes(_png((40, 30)))
    (source / "good.png").write_bytes(_png((12, 12)))
    archive.write_folder(tmp_path / "b", classifier.files)
    flags = [
        f"--bundle={tmp_path}/b",
        f"--input={source}",
        f"--cache_dir={cache_dir}",
        f"--output={tmp_path}/out",
    ]
    (tmp_path / "out").mkdir()
    with (
        lock.hold(tmp_path / "out" / ".lock", wait=False),
        pytest.raises(UserError, match="another process writes into it"),
    ):
        answered(flags)
    with pytest.raises(ExitError):
        answered(flags)
    told = capfd.readouterr().err
    assert "5 of 6 could not be answered" in told
    assert re.search(
        r"5 files: has the shape \(40, 30\).*\(0\.png, 1\.png, 2\.png and 2 more\)", told
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["overlays", "predictions.csv"]


def test_another_that_came_and_went_and_an_early_end(
    classifier, tmp_path, cache_dir, capfd, monkeypatch
):
    """What the first wrote while the second still read its bundle is not written over."""
    archive.write_folder(tmp_path / "b", classifier.files)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(_png((12, 12)))
    flags = [f"--bundle={tmp_path}/b", f"--input={tmp_path}/in", f"--cache_dir={cache_dir}"]
    looked = predict.first_look

    def another(*args):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "predictions.csv").write_text("of another")
        return looked(*args)

    monkeypatch.setattr(predict, "first_look", another)
    with pytest.raises(UserError, match="name a new or empty folder"):
        answered([*flags, f"--output={tmp_path}/out"])
    assert (tmp_path / "out" / "predictions.csv").read_text() == "of another"
    monkeypatch.undo()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "chunks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answered([*flags, f"--output={tmp_path}/early"])
    assert "early has 0 answers of 1 files" in capfd.readouterr().err


def test_what_the_memory_does_not_hold_is_answered_in_turn(
    classifier, tmp_path, cache_dir, capsys, monkeypatch
):
    archive.write_folder(tmp_path / "b", classifier.files)
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(_png((12, 12)))
    needed = bundle.load(tmp_path / "b").bytes_an_image
    monkeypatch.setattr("medjax.train.mesh.memory_bytes", lambda: 8 * needed)
    answered(
        [
            f"--bundle={tmp_path}/b",
            f"--input={tmp_path}/in",
            f"--cache_dir={cache_dir}",
            f"--output={tmp_path}/out",
            "--batch=1000000",
        ]
    )
    told = capsys.readouterr().out
    assert "note: 2 at a time, not --batch=1000000" in told
    assert "3 answers of 3 files" in told


def test_an_overlay_that_fails_costs_no_answer(classifier, tmp_path, cache_dir, capfd, monkeypatch):
    from medjax.outputs.labels.serve import ClassProbabilities

    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(ClassProbabilities, "draw", fail)
    archive.write_folder(tmp_path / "b", classifier.files)
    answered(
        [
            f"--bundle={tmp_path}/b",
            f"--input={classifier.data}",
            f"--cache_dir={cache_dir}",
            f"--output={tmp_path}/out",
        ]
    )
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == 24
    assert "note: not drawn: 24 files: no font" in capfd.readouterr().out


def test_names_of_any_kind_are_answered(classifier, tmp_path, cache_dir):
    source = tmp_path / "in"
    names = [
        "=1+1.png",
        "a/b.png",
        "a_b.png",
        "-x.png",
        "@y.png",
        "\U0001f9e0.png",
        "n" * 240 + ".png",
        "a b\t.png",
    ]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(_png((12, 12)))
    archive.write_folder(tmp_path / "b", classifier.files)
    answered(
        [
            f"--bundle={tmp_path}/b",
            f"--input={source}",
            f"--cache_dir={cache_dir}",
            f"--output={tmp_path}/out",
        ]
    )
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert {row["case_id"].lstrip("'") for row in rows} == set(names)
    assert not any(row["case_id"].startswith(("=", "+", "-", "@")) for row in rows)
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == len(names)


def test_only_the_bundle_that_was_asked_for(classifier, tmp_path, cache_dir):
    archive.write_folder(tmp_path / "b", classifier.files)
    with pytest.raises(UserError, match="not the one that was asked for"):
        answered(
            [
                f"--bundle={tmp_path}/b",
                f"--input={classifier.data}",
                "--sha256=0",
                f"--output={tmp_path}/out",
                f"--cache_dir={cache_dir}",
            ]
        )
    assert not (tmp_path / "out").exists()


def _png(shape):
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "nothing"}, "`input=nothing`: no such"),
        ({"bundle": "nothing"}, "nothing: no such"),
        ({"output": ""}, "name a new or empty folder"),
        ({"batch": 0}, "`batch=0`"),
        ({"spacing_mm": -1}, "`spacing_mm=-1.0`"),
        ({"input": "."}, "holds no images"),
        ({"fixed": "a.png"}, "`fixed` is for networks that register images, which this"),
        ({"pairs": "p.csv"}, "`pairs` is for networks that register images, which this"),
    ],
)
def test_bad_flags_get_one_clear_line(classifier, tmp_path, cache_dir, monkeypatch, changes, words):
    monkeypatch.chdir(tmp_path)
    archive.write_folder(tmp_path / "b", classifier.files)
    values = {
        "bundle": "b",
        "input": classifier.data,
        "output": "out",
        "cache_dir": cache_dir,
        **changes,
    }
    with pytest.raises(UserError, match=words):
        answered([f"--{k}={v}" for k, v in values.items()])
    assert not (tmp_path / "out").exists()


def test_pixels_of_another_kind_are_refused(classifier):
    model = bundle.opened(classifier.files, where="b")
    with pytest.raises(UserError, match="pixels are float32, those of the training were uint8"):
        model.predict(np.zeros((12, 12), np.float32))
    with pytest.raises(UserError, match="a volume of 1 channel; the model is for an image of"):
        model.predict(np.zeros((4, 4, 4, 1), np.uint8))


def test_a_sequence_tells_its_time(tmp_path_factory, cache_dir):
    from tests.bundle.conftest import made

    model = bundle.opened(made("temporal", tmp_path_factory, cache_dir).files, where="b")
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 16)).astype(np.uint8)
    for row in model.predict(frames, frame_ms=20.0).rows():
        assert row["time_ms"] == pytest.approx(20.0 * row["frame"])
    assert np.isnan(model.predict(frames).rows()[0]["time_ms"])
    long = np.concatenate([frames] * 8)  # longer than any of the training
    assert model.predict(long).score.shape == (48, 2)
    with pytest.raises(UserError, match="a sequence has two or more"):
        model.predict(frames[:1])


def test_a_bundle_kept_from_format_1_reads_as_it_did():
    """The answers were written beside it by the medjax that made it."""
    from tests.conftest import ROOT

    kept = ROOT / "tests" / "bundle" / "kept"
    model = bundle.load(kept / "format_1.zip")
    expected = json.loads((kept / "format_1.json").read_text())
    image = np.arange(144, dtype=np.uint8).reshape(12, 12)
    for name, value in model.predict(image).probability.items():
        assert value == pytest.approx(expected[name], abs=1e-5)
    from jax import export

    run = export.deserialize(model.files["model.stablehlo"])
    weights = parse(model.files["weights.safetensors"], where="kept")
    np.testing.assert_allclose(
        run.call(weights, image[None, ..., None])[0], list(expected.values()), atol=1e-5
    )

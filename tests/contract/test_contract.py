"""What holds for every method: one test, all families, and a toy that is none of ours.

The toy needs two files (`toy.py`, `toy_experiment.py`) and one line, here: `TASKS["toy"]`.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from medjax import app, bundle, schema
from medjax.config import list_settings
from medjax.outputs.base import ModelSpec, Output
from medjax.tasks.base import inputs_of
from medjax.tasks.families import TASKS
from medjax.tools import predict
from medjax.train.predict import compile_predict, predict_split
from tests.bundle import conftest as shared
from tests.conftest import REPORT
from tests.contract import toy, toy_experiment

TASKS["toy"] = toy.ToyPredictor
shared.PROGRAMS["toy"] = toy_experiment
shared.DATA["toy"] = lambda root: {
    k: v for k, v in shared.pictures(root).items() if k in ("dataset", "seeds")
}


@pytest.fixture(scope="module", params=list(TASKS))
def made(request, tmp_path_factory, cache_dir):
    return shared.made(request.param, tmp_path_factory, cache_dir)


def cosines(rows):
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit @ unit.T


def described(made):
    settings = json.loads((made.workdir / "config.json").read_text())
    kind = TASKS[made.experiment]
    return (
        schema.read(kind, settings["how"], where="how"),
        schema.read(ModelSpec, settings["trained"], where="trained"),
        settings,
    )


@pytest.mark.parametrize("name", list(TASKS))
def test_a_predictor_is_plain_data(name):
    predictor = TASKS[name]()
    assert isinstance(predictor.output, Output)
    assert isinstance(predictor.model, str)
    plain = json.loads(json.dumps(schema.as_plain(predictor)))
    assert schema.read(type(predictor), plain, where="x") == predictor
    with pytest.raises(dataclasses.FrozenInstanceError):
        predictor.output = None


def test_the_report_keeps_the_contract(made):
    report = json.loads((made.workdir / "report.json").read_text())
    assert set(report) >= REPORT
    assert report["experiment"] == made.experiment
    assert set(report["metrics"]) == set(report["baseline"])
    assert {line.split(":")[0] for line in report["definitions"]} <= set(report["metrics"]) | {
        "nme",
        "mae_mm",
    }
    for estimate in report["metrics"].values():
        assert estimate["value"] is None or np.isfinite(estimate["value"])
    assert (made.workdir / "figures" / "learning_curve.png").stat().st_size > 5000


def test_evaluation_alone_says_the_same(made, tmp_path):
    program, workdir = shared.PROGRAMS[made.experiment], tmp_path / "run"
    shutil.copytree(made.workdir, workdir)
    report = json.loads((workdir / "report.json").read_text())
    csv = (workdir / "predictions.csv").read_bytes()
    (workdir / "predictions.csv").unlink()
    *_, settings = described(made)
    flags = []
    for leaf in list_settings(program.Config()):
        value = settings[leaf.name]
        shown = ",".join(map(str, value)) if isinstance(value, list) else value
        flags.append(f"--{leaf.name}={shown}")
    program.main(
        app.parse(program.Config, ["x", *flags, "--eval_only", f"--workdir={workdir}"], "x")
    )
    again = json.loads((workdir / "report.json").read_text())
    assert again["metrics"] == report["metrics"]
    assert again["weights_sha256"] == report["weights_sha256"]
    assert (workdir / "predictions.csv").read_bytes() == csv


def test_a_task_is_three_pure_functions(made, cache_dir):
    """Prediction of a case does not depend on the batch; equal seeds answer as one."""
    predictor, spec, _ = described(made)
    split = shared.load_set(made, cache_dir).splits["validation"]
    model = bundle.opened(made.files, where="b")
    task = predictor.make_task(spec)
    columns = [given.column for given in inputs_of(predictor, spec)[1:]]
    compiled = compile_predict(task.predict)
    first = jax.tree.map(lambda x: x[:1], model.weights)
    output = predictor.output
    found = {
        size: output.infer(predictor, compiled, first, split, spec, columns=columns, batch=size)
        for size in (1, 3)
    }
    for name, values in found[1].by_seed.items():
        if values.dtype == object:  # packed masks
            assert values.tolist() == found[3].by_seed[name].tolist()
        else:
            np.testing.assert_allclose(values, found[3].by_seed[name], rtol=1e-3, atol=1e-3)
    one = predict_split(compiled, first, shared.inputs(split, spec), columns=columns, batch=3)
    twice = {k: np.concatenate([v, v]) for k, v in one.items()}
    single = output.ensemble(one, spec)
    for name, values in output.ensemble(twice, spec).items():
        same = values.shape == single[name].shape
        pair = (values, single[name])  # which may stand beside one another: then what they compare
        a, b = pair if same else map(cosines, pair)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    table = output.tabulate(split, spec, found[3].ensemble)
    assert table.case_id == split.case_id
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    assert [x.shape for x in jax.tree.leaves(shapes)] == [
        x.shape[1:] for x in jax.tree.leaves(model.weights)
    ]


def test_predict_and_card_ask_the_output(made, cache_dir, tmp_path):
    from medjax.bundle import archive

    archive.write_folder(tmp_path / "b", made.files)
    predictor, spec, _ = described(made)
    values = {"bundle": tmp_path / "b", "input": made.data, "output": tmp_path / "out"}
    if made.experiment == "register":
        values |= {"input": made.data / "images", "fixed": made.data / "labels" / "0.png"}
    flags = [
        f"--{k}={v}"
        for k, v in {**values, "cache_dir": cache_dir, "overlays": 1, "spacing_mm": 0.5}.items()
    ]
    predict.main(app.parse(predict.Config, ["predict", *flags], "predict"))
    assert (tmp_path / "out" / "predictions.csv").stat().st_size > 50
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 1
    card = (tmp_path / "b" / "README.md").read_text()
    description = predictor.output.describe(spec.info)
    assert description.task in card
    assert all(name.replace("_", r"\_") in card for name in description.names)

"""`experiments.temporal` through its real flags."""

import csv
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import temporal
from medjax import app
from medjax.errors import UserError
from tests.conftest import REPORT, real_data, settings

SMALL = {
    "subjects": 14,
    "steps": 2,
    "batch": 2,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 50,
    "features": 4,
    "hidden": 4,
    "warmup_steps": 1,
    "image_shape": "16,16",
}
FIGURES = {"learning_curve.png", "curves.png", "frames.png", "differences.png"}


def run_here(workdir, cache, **changes):
    values = settings(SMALL, workdir=workdir, cache_dir=cache, **changes)
    temporal.main(
        app.parse(
            temporal.Config, ["temporal", *(f"--{k}={v}" for k, v in values.items())], "temporal"
        )
    )
    return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    """One run on beating hearts, beside which one without recurrence is trained."""
    workdir = tmp_path_factory.mktemp("run") / "w"
    return run_here(workdir, cache_dir), workdir


def test_the_report_keeps_the_contract(done):
    report, workdir = done
    assert REPORT | {"beside", "compared"} <= set(report)
    assert {
        f"{e}_{m}"
        for e in ("ed", "es")
        for m in ("afd", "afd_cyclic", "ms", "bias", "sd", "within1", "within2")
    } <= set(report["metrics"])
    assert {
        "network",
        "per frame",
        "area of blood",
        "mean intensity",
        "mean place in train",
    } <= set(report["beside"])
    for value in report["metrics"].values():  # of so few subjects there is no interval
        assert value["low"] is None and value["reason"]
    names = {p.name for p in (workdir / "figures").iterdir()}
    assert {n for n in names if not n.startswith("worst_")} == {*FIGURES, "captions.json"}
    assert all((workdir / "figures" / f).stat().st_size > 5000 for f in FIGURES)


def test_the_predictions_add_up_to_the_report(done):
    report, workdir = done
    with (workdir / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 2 * report["cases"]
    for name in ("ED", "ES"):
        some = [r for r in rows if r["name"] == name]
        off = [abs(int(r["pred_index"]) - float(r["true_index"])) for r in some]
        assert np.mean(off) == pytest.approx(report["metrics"][f"{name.lower()}_afd"]["value"])
        short = [min(o, int(r["frames"]) - o) for o, r in zip(off, some, strict=True)]
        assert np.mean(short) == pytest.approx(
            report["metrics"][f"{name.lower()}_afd_cyclic"]["value"]
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "curve", "recurrence": "gru", "rival": False, "smooth": 3, "by_length": True},
        {"recurrence": "convlstm", "rival": False, "remat": True, "learning_rates": "1e-3,3e-3"},
        {"recurrence": "tcn", "rival": False, "seeds": 2, "encoder_rate": 0.1},
    ],
)
def test_other_networks_and_losses_go_through(tmp_path, cache_dir, changes):
    report = run_here(tmp_path / "w", cache_dir, **changes)
    assert np.isfinite(report["metrics"]["ed_afd"]["value"])


@pytest.mark.slow
def test_planes_of_sweeps(tmp_path, cache_dir):
    report = run_here(
        tmp_path / "w",
        cache_dir,
        dataset="brain_sweeps",
        task="planes",
        train_window=6,
        reverse=True,
        rival=False,
        recurrence="lstm",
        subjects=9,
    )
    assert {"f1", "average_precision", "hit_rate", "AC_f1", "PC_hit_rate"} <= set(report["metrics"])
    assert "area of blood" not in report["beside"]


@pytest.mark.slow
def test_a_run_and_its_rival_start_from_another(done, tmp_path, cache_dir):
    _, workdir = done
    report = run_here(
        tmp_path / "w", cache_dir, init_from=workdir, learning_rate=1e-9, ema_decay=0.0
    )
    for part in (".", "per_frame"):
        before, now = (
            load_file(w / part / "weights.safetensors") for w in (workdir, tmp_path / "w")
        )
        assert set(before) == set(now)
        for name in (n for n in before if n.startswith("params")):
            np.testing.assert_allclose(now[name], before[name], atol=1e-6, err_msg=name)
    assert report["metrics"] == report["beside"]["network"]
    shutil.rmtree(tmp_path / "w" / "per_frame")
    with pytest.raises(UserError, match="that run has no rival"):
        run_here(tmp_path / "v", cache_dir, init_from=tmp_path / "w")


@pytest.mark.slow
def test_the_authors_sononet_as_a_frozen_encoder(tmp_path, cache_dir):
    weights = real_data("sononet") / "SonoNet16.npz"
    report = run_here(
        tmp_path / "w",
        cache_dir,
        encoder="sononet16",
        init_from=weights,
        encoder_rate=0.0,
        image_shape="32,32",
        rival=False,
        subjects=8,
    )
    assert np.isfinite(report["metrics"]["es_afd"]["value"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "planes", "loss": "curve"}, "`loss=curve` is not for `task=planes`"),
        ({"dataset": "brain_sweeps", "loss": "curve", "units": "frames"}, "give `loss=time`"),
        ({"dataset": "brain_sweeps", "units": "frames"}, "several frames called .*`task=planes`"),
        ({"train_window": 5}, "are whole cycles"),
        ({"train_window": 5, "by_length": True}, "all are as long already"),
        ({"smooth": 2}, "`smooth=2`: must be odd"),
        ({"image_shape": "16"}, "`image_shape`"),
        ({"window": "3,1"}, "`window`"),
        ({"image_shape": "4,4"}, "needs frames of 8 pixels a side"),
        ({"encoder_rate": 0}, "`encoder_rate=0` uses the features of `init_from`"),
        ({"init_from": "nothing"}, "`init_from=nothing`: no such"),
        ({"recurrence": "convlstm", "encoder": "mlp"}, "`encoder=cnn`"),
        ({"dataset": "beating_hart"}, "did you mean beating_heart"),
        ({"published_fold": 0}, "`published_fold=0`"),
        ({"dataset": "acdc", "data_dir": ""}, "`data_dir=`: no such folder"),
    ],
)
def test_bad_settings_are_told_in_one_line_and_leave_nothing(tmp_path, cache_dir, changes, words):
    with pytest.raises(UserError, match=words) as e:
        run_here(tmp_path / "w", cache_dir, **changes)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "w").exists()


def sequences_without_times(root):
    """Eight of four frames each, of which no file tells the time between."""
    from tests.data.test_sequences import frames_of, table, write_folder

    root.mkdir()
    for i in range(8):
        write_folder(root / f"c{i}", frames_of(4))
    table(root, [[f"c{i}", f"s{i}", name, t] for i in range(8) for name, t in (("a", 1), ("b", 2))])
    return root


def test_time_between_frames_has_to_be_known(tmp_path, cache_dir):
    root = sequences_without_times(tmp_path / "set")
    with pytest.raises(UserError, match="give the column frame_ms, `frame_ms`, or `units=frames`"):
        run_here(tmp_path / "w", cache_dir, dataset="sequence_folder", data_dir=root)


@pytest.mark.slow
def test_frames_may_be_counted_or_their_time_be_given(tmp_path, cache_dir):
    root = sequences_without_times(tmp_path / "set")
    report = run_here(
        tmp_path / "w",
        cache_dir,
        dataset="sequence_folder",
        data_dir=root,
        units="frames",
        rival=False,
        recurrence="none",
    )
    assert "a_ms" not in report["metrics"]
    assert "area of blood" not in report["beside"]
    report = run_here(
        tmp_path / "v",
        cache_dir,
        dataset="sequence_folder",
        data_dir=root,
        frame_ms=25,
        rival=False,
        recurrence="none",
    )
    assert report["metrics"]["a_ms"]["value"] == pytest.approx(
        25 * report["metrics"]["a_afd_cyclic"]["value"]
    )

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medjax.evaluation import plot, report
from medjax.evaluation.stats import Estimate
from medjax.outputs.labels import metrics as label_metrics
from medjax.outputs.labels import plot as label_plot
from medjax.outputs.labels.predictions import LabelPredictions
from tests.conftest import ROOT


def predictions(classes, n=60):
    rng = np.random.default_rng(0)
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    p = rng.dirichlet(np.ones(classes), n) * 0.5 + 0.5 * np.eye(classes)[label]
    return LabelPredictions(
        [f"c{i}" for i in range(n)],
        [f"s{i}" for i in range(n)],
        label,
        p,
        [f"class {i}" for i in range(classes)],
    )


@pytest.mark.parametrize("classes", [2, 9])
@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (6, 7, 8, 1)])
def test_every_figure_is_drawn(tmp_path, classes, shape):
    found = predictions(classes)
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    label_plot.curves(tmp_path / "curves.png", found)
    label_plot.confusion(tmp_path / "confusion.png", found)
    label_plot.reliability(tmp_path / "reliability.png", found)
    wrong = label_plot.mistakes(tmp_path / "mistakes.png", found, lambda i: image)
    assert wrong == (found.probability.argmax(1) != found.label).sum()
    plot.learning_curve(
        tmp_path / "curve.png",
        [
            {"step": 1, "loss": 1.0},
            {"step": 1, "validation_loss": 0.9, "validation_auc": 0.6},
            {"step": 2, "loss": None},
        ],
        score="auc",
    )
    for name in ("curves", "confusion", "reliability", "mistakes", "curve"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert pixels.std() > 5, f"{name} is blank"


def test_figures_in_other_formats_beside_png(tmp_path):
    with plot.formats("png", "pdf", "svg"):
        label_plot.confusion(tmp_path / "a.b.png", predictions(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.b.pdf", "a.b.png", "a.b.svg"]
    assert (tmp_path / "a.b.pdf").read_bytes().startswith(b"%PDF")


def test_drawing_leaves_the_notebooks_backend_as_it_is(tmp_path):
    program = (
        "import matplotlib\nmatplotlib.use('svg')\nimport sys\nfrom pathlib import Path\n"
        "import numpy as np\nimport medjax.bundle\nfrom medjax.evaluation import plot\n"
        "plot.learning_curve(Path(sys.argv[1]), [{'step': 1, 'loss': 1.0}], score='auc')\n"
        "print(matplotlib.get_backend().lower(), 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.png")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["svg", "False"]


def test_logarithmic_axes_have_plain_numbers():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    ax.set_yscale("log")
    ax.set_ylim(0.02, 30)
    plot.plain_numbers(ax.yaxis)
    ax.figure.draw_without_rendering()
    texts = [t.get_text() for t in ax.get_yticklabels()]
    assert {"0.1", "1", "10"} <= set(texts)
    assert not any(
        "$" in t for t in [*texts, *(t.get_text() for t in ax.get_yticklabels(minor=True))]
    )


def test_names_that_no_figure_has_room_for():
    assert plot.short("case 7") == "case 7"
    assert plot.short("a\tb\U0001f9e0") == "a?b?"
    assert len(plot.short("x" * 300)) <= 48


def test_no_mistakes_is_a_figure_too(tmp_path):
    found = predictions(2)
    right = LabelPredictions(
        found.case_id, found.subject_id, found.label, np.eye(2)[found.label], found.classes
    )
    assert label_plot.mistakes(tmp_path / "m.png", right, lambda i: np.zeros((4, 4, 1))) == 0


def test_the_trivial_baseline_knows_only_frequencies():
    cases = predictions(2)
    constant = cases.with_probability(np.tile([0.25, 0.75], (len(cases.label), 1)))
    found = constant.values(label_metrics.CLASSIFICATION)
    share = (cases.label == 1).mean()
    assert found["auc"] == 0.5
    assert found["accuracy"] == pytest.approx(share)
    assert found["average_precision"] == pytest.approx(share)
    assert found["ece"] == pytest.approx(abs(share - 0.75))


def test_undefined_values_are_null_in_the_report(tmp_path):
    report.write(
        tmp_path / "r.json",
        {"metrics": {"a": Estimate(np.nan, np.nan, np.nan, 7), "b": Estimate(0.5, 0.4, 0.6)}},
    )
    found = json.loads((tmp_path / "r.json").read_text())["metrics"]
    assert found["a"] == {"value": None, "low": None, "high": None, "undefined": 7}
    assert found["b"] == {"value": 0.5, "low": 0.4, "high": 0.6}


def test_tables_line_up(capsys):
    report.show("a title", ("name", "x"), [("one", "1.0"), ("longer name", "10.0")], ["a note"])
    lines = [x for x in capsys.readouterr().out.splitlines() if "│" in x]
    assert len({x.index("│") for x in lines}) == 1


def test_versions_and_device_are_named():
    assert {"medjax", "python", "jax", "flax"} <= set(report.versions())
    assert report.device()


def test_metadata_stand_behind_and_are_no_classes(tmp_path):
    found = predictions(3, n=5)
    found.metadata = [{"age": str(40 + i), "p_odd": "x"} for i in range(5)]
    found.write(tmp_path / "p.csv")
    head, first, *_ = (tmp_path / "p.csv").read_text().splitlines()
    assert head.endswith("p_class 2,meta_age,meta_p_odd")
    assert first.endswith(",40,x")
    again = LabelPredictions.read(tmp_path / "p.csv")
    assert again.classes == found.classes
    np.testing.assert_allclose(again.probability, found.probability, rtol=1e-6)

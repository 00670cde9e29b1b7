import json

import numpy as np
import pytest

from medjax import app
from medjax.errors import UserError
from medjax.outputs.labels import pairs as label_pairs
from medjax.outputs.labels.predictions import LabelPredictions
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.tools import compare


def predictions(seed=0, n=40, names=("no", "yes")):
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(9).integers(0, len(names), n)
    p = rng.dirichlet(np.ones(len(names)), n)
    return LabelPredictions(
        [f"c{i}" for i in range(n)], [f"s{i // 2}" for i in range(n)], label, p, names
    )


def run(*arguments):
    compare.main(app.parse(compare.Config, ["compare", *map(str, arguments)], "compare"))


def test_two_files_are_compared(tmp_path, capsys):
    predictions(0).write(tmp_path / "a.csv")
    (tmp_path / "run").mkdir()
    predictions(1).write(tmp_path / "run" / "predictions.csv")
    run(tmp_path / "a.csv", tmp_path / "run", "--samples=50", f"--output={tmp_path / 'out.json'}")
    out = capsys.readouterr().out
    assert "40 cases of 20 subjects" in out
    found = json.loads((tmp_path / "out.json").read_text())["accuracy"]
    assert found["difference"]["value"] == pytest.approx(found["b"] - found["a"])
    assert found["difference"]["low"] <= found["difference"]["value"] <= found["difference"]["high"]


def test_the_order_of_rows_does_not_matter(tmp_path):
    a = predictions()
    order = np.random.default_rng(1).permutation(40)
    b = LabelPredictions(
        [a.case_id[i] for i in order],
        [a.subject_id[i] for i in order],
        a.label[order],
        a.probability[order],
        a.classes,
    )
    np.testing.assert_array_equal(label_pairs.align(a, b).probability, a.probability)


def test_files_round_trip(tmp_path):
    a = predictions(names=("x", "y, z", "ü"))
    a.write(tmp_path / "a.csv")
    b = LabelPredictions.read(tmp_path / "a.csv")
    assert (b.case_id, b.subject_id, b.classes) == (a.case_id, a.subject_id, a.classes)
    np.testing.assert_allclose(b.probability, a.probability, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("yes", "maybe"), "the classes differ"),
        (lambda t: t.replace("p_yes", "p_maybe"), "line 3: 'yes' is not in list"),
        (lambda t: t.replace("c7,", "d7,"), "2 cases are in one file only"),
        (lambda t: t.replace("c7,", "c6,"), "1 cases are in one file only"),
        (lambda t: t.replace(",yes,", ",no,"), "the labels of some cases differ"),
        (lambda t: t.replace("case_id", "case"), "expected the columns"),
        (lambda t: t.replace("c7,s3", "c7"), "line 9"),
        (lambda t: t.replace(t.splitlines()[3].split(",")[-1], "nan"), "line 4"),
        (lambda t: "", "not a readable|expected the columns"),
    ],
)
def test_files_that_do_not_fit(tmp_path, change, message):
    predictions(0).write(tmp_path / "a.csv")
    predictions(1).write(tmp_path / "b.csv")
    text = (tmp_path / "b.csv").read_text()
    (tmp_path / "b.csv").write_text(change(text))
    with pytest.raises(UserError, match=message):
        run(tmp_path / "a.csv", tmp_path / "b.csv")


def test_arguments_are_checked(tmp_path):
    with pytest.raises(UserError, match="name two"):
        run(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no such file"):
        run(tmp_path / "a.csv", tmp_path / "b.csv")


def landmarks(path, *, seed=0, shift=0.0, names=("a", "b")):
    rng = np.random.default_rng(3)
    true = rng.normal(size=(20, len(names), 3))
    found = true + np.random.default_rng(seed).normal(0, 1, true.shape) + shift
    cases = [f"c{i}" for i in range(20)]
    LandmarkPredictions(
        cases, cases, names, found, true, found, true, np.ones(true.shape[:2])
    ).write(path)


def test_two_runs_with_landmarks_are_compared(tmp_path, capsys):
    landmarks(tmp_path / "a.csv", seed=0)
    landmarks(tmp_path / "b.csv", seed=1, shift=3.0)
    run(
        tmp_path / "a.csv",
        tmp_path / "b.csv",
        "--samples=200",
        "--radii_mm=2,4",
        f"--output={tmp_path / 'out.json'}",
    )
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"error_mm", "sdr_2mm", "sdr_4mm"} <= set(found)
    assert found["error_mm"]["difference"]["low"] > 1.0
    assert found["error_mm"]["p_value"] < 0.02
    assert "20 cases, each its own subject" in capsys.readouterr().out


def test_other_landmarks_or_another_reference_are_refused(tmp_path):
    landmarks(tmp_path / "a.csv")
    landmarks(tmp_path / "b.csv", names=("a", "c"))
    with pytest.raises(UserError, match="the landmarks differ"):
        run(tmp_path / "a.csv", tmp_path / "b.csv")
    text = (tmp_path / "a.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[11] = "55.5"  # true_x_mm
    (tmp_path / "c.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")
    with pytest.raises(UserError, match="reference points of some cases differ"):
        run(tmp_path / "a.csv", tmp_path / "c.csv")
    predictions(0).write(tmp_path / "classes.csv")
    with pytest.raises(UserError, match=r"not a predictions\.csv of landmarks"):
        run(tmp_path / "a.csv", tmp_path / "classes.csv")


def test_both_files_have_the_same_subjects_whatever_they_are_called(tmp_path):
    a = predictions(0)
    a.write(tmp_path / "a.csv")
    for name, who in (("renamed", "p{}"), ("alone", "{}"), ("torn", "s{}")):
        people = [who.format(i if name == "alone" else i // 2) for i in range(40)]
        if name == "torn":
            people[1], people[2] = people[2], people[1]  # as many, and others
        LabelPredictions(a.case_id, people, a.label, a.probability, a.classes).write(
            tmp_path / f"{name}.csv"
        )
    run(tmp_path / "a.csv", tmp_path / "renamed.csv", "--samples=20")
    for order in (("a", "alone"), ("alone", "a"), ("a", "torn")):
        with pytest.raises(UserError, match=r"subjects in one file and of \d+ in the other"):
            run(*(tmp_path / f"{name}.csv" for name in order))


def test_classes_in_another_order_are_the_same_classes():
    a = predictions(names=("mild", "none", "severe"))
    other = label_pairs.in_order(a, ("none", "mild", "severe"))
    found = label_pairs.align(a, other)
    assert found.classes == a.classes
    np.testing.assert_array_equal(found.label, a.label)
    np.testing.assert_array_equal(found.probability, a.probability)


def test_settings_of_another_kind_of_predictions_are_refused(tmp_path):
    predictions(0).write(tmp_path / "a.csv")
    with pytest.raises(UserError, match="`radii_mm`: says nothing of"):
        run(tmp_path / "a.csv", tmp_path / "a.csv", "--radii_mm=3")
    landmarks(tmp_path / "b.csv")
    with pytest.raises(UserError, match="`positive_class`: says nothing of"):
        run(tmp_path / "b.csv", tmp_path / "b.csv", "--positive_class=a")

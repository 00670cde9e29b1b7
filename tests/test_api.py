"""One call: own arrays, network and loss, from Python; what cannot be is one line."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import medjax
from medjax import losses, models
from medjax.config import configure
from medjax.data import catalogue
from medjax.data.options import DataOptions, LandmarkOptions, MaskOptions
from medjax.data.pair_options import PairOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.errors import UserError
from tests.bundle import conftest as shared


class RowNet(nn.Module):
    """Which rows are bright."""

    classes: int = 2

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3), strides=(2, 2))(x))
        return nn.Dense(self.classes)(x.mean(2).reshape(x.shape[0], -1))


def make_row_net(num_classes):
    return RowNet(num_classes)


def squared(logits, target):
    return jnp.sum((nn.softmax(logits) - target) ** 2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    images = rng.normal(0, 0.5, (80, 16, 16)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[8 * label : 8 * label + 8] += 2
    return medjax.Dataset.from_arrays(
        images, labels, subjects=np.arange(80) // 2, classes=["top", "bottom"]
    )


@pytest.fixture(scope="module")
def result(data, tmp_path_factory, cache_dir):
    return medjax.classify(
        data,
        network=RowNet(),
        loss=squared,
        workdir=str(tmp_path_factory.mktemp("own") / "run"),
        cache_dir=str(cache_dir),
        steps=40,
        batch=8,
        bootstrap=50,
    )


def test_a_run_of_ones_own_learns_and_says_so(result):
    assert result.metrics["accuracy"].value > 0.9
    assert result.report["model"] == "own:RowNet"
    assert result.report["settings"]["loss"] == "own:squared"
    assert result.predictions.case_id
    text = repr(result)
    assert "accuracy" in text
    assert str(result.page) in text
    assert "<table>" in result._repr_html_()
    assert result.figure("roc_pr")._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="unknown figure 'roc'"):
        result.figure("roc")


def test_its_bundle_answers_with_the_network_and_not_without(result, data, tmp_path):
    path = result.share(tmp_path / "mine.zip", licence="CC0-1.0")
    image = data.splits["test"].read(0)
    there = medjax.load(path, network=RowNet()).predict(image).probability
    here = result.predict(image).probability
    assert there == pytest.approx(here, abs=1e-6)
    with pytest.raises(UserError, match=r"RowNet, is its author's own.*network=RowNet\(\.\.\.\)"):
        medjax.load(path)
    with pytest.raises(UserError, match=r"answers a batch of .* with \(1, 3\)"):
        medjax.load(path, network=RowNet(3))
    with pytest.raises(UserError, match="is there already"):
        result.share(path)
    card = medjax.load(path, answers=False).files["README.md"].decode()
    assert "ask for it" in card
    assert "network=RowNet(...)" in card


def test_a_known_network_takes_no_other(tmp_path_factory, cache_dir):
    made = shared.made("classify", tmp_path_factory, cache_dir)
    with pytest.raises(UserError, match="medjax knows its network, cnn; leave network out"):
        from medjax import bundle

        bundle.opened(made.files, where="b", network=RowNet())


class NoModule:
    pass


class NoTrain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x


class Broken(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(2)(x.reshape(7, -1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": RowNet(5)}, r"with \(1, 5\), where \(1, 2\) is needed"),
        ({"network": RowNet}, r"network RowNet: give an instance, RowNet\(\.\.\.\)"),
        ({"network": RowNet(), "model": "cnn"}, "`model` and network: give one of them"),
        ({"network": NoTrain()}, "its __call__ needs an argument called train"),
        ({"loss": lambda a, b: a - b}, r"loss <lambda> gives \(2,\) .* must give one number"),
        ({"loss": lambda a, b, c: a}, "loss <lambda> does not take an answer and a target"),
        ({"loss": "focl"}, "unknown value of `loss` 'focl'"),
        ({"image_size": 8}, "`image_size` says how files are read"),
        ({"network": NoModule()}, "network NoModule: not a flax.linen module"),
        ({"network": Broken()}, r"network Broken does not take images of the shape \(16, 16, 1\)"),
        ({"stps": 3}, "unknown setting 'stps': did you mean steps"),
        ({"steps": "3"}, "`steps='3'`: must be a int"),
        ({"steps": 0}, "`steps=0`: must be at least 1"),
        ({"model": "resnet"}, "unknown value of `model` 'resnet'"),
        ({"folds": 5, "fold": "5"}, "`fold=5`: give `all`, or 0 to 4"),
        ({"folds": 2}, "`folds=2`: give 3 or more"),
    ],
)
def test_what_does_not_fit_is_one_line(data, options, words, tmp_path, cache_dir):
    with pytest.raises(UserError, match=words):
        medjax.classify(data, workdir=str(tmp_path / "w"), cache_dir=str(cache_dir), **options)
    assert not (tmp_path / "w" / "config.json").exists()


def test_changed_code_is_told_apart(data, tmp_path, cache_dir):
    """The same names and shapes, another computation: an old run is not gone on with."""

    def train(scale):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x, train):
                return nn.Dense(2)(scale * x.reshape(len(x), -1))

        options = {"workdir": str(tmp_path / "w"), "cache_dir": str(cache_dir)}
        return medjax.classify(data, network=Net(), steps=2, batch=8, bootstrap=20, **options)

    first = train(1.0)
    assert train(1.0).report["metrics"] == first.report["metrics"]
    with pytest.raises(UserError, match="the code of your network or loss has changed"):
        train(2.0)


def test_what_is_no_set_is_one_line(data):
    points = medjax.Dataset.from_landmarks(
        np.zeros((20, 16, 16)), np.ones((20, 1, 2)), spacing_mm=1
    )
    with pytest.raises(UserError, match="the set arrays has no classes"):
        medjax.classify(points)
    with pytest.raises(UserError, match="data is a ndarray: give a folder"):
        medjax.classify(np.zeros((3, 4, 4)))
    assert repr(data).startswith("medjax set arrays: 2 classes;")


@pytest.mark.slow
def test_a_bundle_of_a_registered_network(data, tmp_path, cache_dir):
    medjax.register_network("rows", make_row_net)
    options = {"workdir": str(tmp_path / "w"), "cache_dir": str(cache_dir), "bootstrap": 20}
    try:
        result = medjax.classify(data, model="rows", loss="focal", steps=2, batch=8, **options)
        path = result.share(tmp_path / "b.zip")
        image = data.splits["test"].read(0)
        here = medjax.load(path).predict(image).probability
    finally:
        del models.CLASSIFIERS["rows"]
    with pytest.raises(UserError, match="its network, rows, is its author's own"):
        medjax.load(path)
    there = medjax.load(path, network=RowNet()).predict(image).probability
    assert there == pytest.approx(here, abs=1e-6)
    assert "ask for it" in medjax.load(path, answers=False).files["README.md"].decode()


def test_registered_names_stand_in_help_and_train(data, tmp_path, cache_dir):
    from experiments import classify
    from medjax import usage

    medjax.register_network("row_net", make_row_net)
    medjax.register_loss("squared", squared)
    medjax.register_dataset("stripes", lambda: data)
    try:
        full = usage.describe(classify.Config, "medjax classify", "x", full=True)
        assert all(name in full for name in ("row_net", "squared", "stripes"))
        made = configure(
            classify.Config,
            dataset="stripes",
            model="row_net",
            loss="squared",
            steps=4,
            batch=8,
            bootstrap=20,
            workdir=str(tmp_path / "w"),
            cache_dir=str(cache_dir),
        )
        assert classify.main(made).report["model"] == "row_net"
        for register, name in (
            (lambda: medjax.register_network("cnn", RowNet), "network 'cnn'"),
            (lambda: medjax.register_loss("focal", squared), "loss 'focal'"),
            (lambda: medjax.register_dataset("a b", lambda: data), "dataset 'a b'"),
        ):
            with pytest.raises(UserError, match=f"{name}: a name of medjax's"):
                register()
    finally:
        del models.CLASSIFIERS["row_net"], losses.CLASS_LOSSES["squared"]
        del catalogue.REGISTERED["stripes"]


def test_focal_loss_by_hand():
    """p = (1/4, 3/4), target the first: (3/4)^2 log 4; focus 0 is cross-entropy."""
    logits = jnp.log(jnp.array([0.25, 0.75]))
    target = jnp.array([1.0, 0.0])
    assert float(losses.focal(logits, target)) == pytest.approx(0.5625 * np.log(4))
    assert float(losses.focal(logits, target, focus=0.0)) == pytest.approx(np.log(4))


def test_a_folder_is_what_it_looks_like(tmp_path, folder_of_images):
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "landmarks.csv").write_text("path,x,y\n")
    (tmp_path / "t.csv").write_text("case,name,index\n")
    (tmp_path / "u.csv").write_text("file,diagnosis\n")
    (tmp_path / "quoted.csv").write_text('"image","mask"\n')  # as R writes
    (tmp_path / "excel.csv").write_text("fixed,moving\n", encoding="utf-8-sig")
    for path, kind in (
        (folder_of_images, DataOptions),
        (tmp_path / "l", LandmarkOptions),
        (tmp_path / "t.csv", SequenceOptions),
        (tmp_path / "u.csv", DataOptions),
        (tmp_path / "quoted.csv", MaskOptions),
        (tmp_path / "excel.csv", PairOptions),
    ):
        assert catalogue.find_kind(path) is kind
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no set of images; looked for a folder of images for each"):
        catalogue.find_kind(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file or folder"):
        medjax.open_dataset(tmp_path / "none")
    with pytest.raises(UserError, match="unknown kind of set 'maps'"):
        medjax.open_dataset(folder_of_images, finds="maps")
    with pytest.raises(UserError, match="unknown setting 'img_size'"):
        medjax.open_dataset(folder_of_images, img_size=3)
    for option, words in (
        ({"channels": "grey"}, "unknown value of `channels` 'grey'"),
        ({"image_size": "16"}, "must be a int"),
        ({"image_size": -4}, "image_size"),
        ({"class_order": "ba"}, "must be a tuple"),
    ):
        with pytest.raises(UserError, match=words):
            medjax.open_dataset(folder_of_images, **option)


def test_a_folder_is_opened_with_options(folder_of_images, cache_dir):
    found = medjax.open_dataset(folder_of_images, image_size=8, cache_dir=cache_dir)
    assert found.splits["train"].image_shape == (8, 8, 1)
    assert found.info.classes == ("bright", "dark")
    order = ["dark", "bright"]
    found = medjax.open_dataset(
        folder_of_images, image_size=8, class_order=order, cache_dir=cache_dir
    )
    assert found.info.classes == ("dark", "bright")


def test_a_table_with_other_names_of_columns(folder_of_images, cache_dir):
    rows = [f"{p.parent.name}/{p.name},{p.parent.name}" for p in folder_of_images.glob("*/*.png")]
    path = folder_of_images / "exams.csv"
    path.write_text("filename,diagnosis\n" + "\n".join(rows) + "\n")
    found = medjax.open_dataset(path, image_size=8, cache_dir=cache_dir)
    assert found.info.classes == ("bright", "dark")
    assert sum(map(len, found.splits.values())) == 24

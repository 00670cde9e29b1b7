"""Where a training starts from: the weights, and the scaling that they want."""

import hashlib
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from medjax import models, weights
from medjax.errors import UserError
from medjax.experiment.opening import check_folders
from medjax.experiment.starting import (
    Start,
    StartOptions,
    TrainedStartOptions,
    find_training,
    start_run,
)
from medjax.experiment.starting import find_start as find
from medjax.models import published
from medjax.models.published import Scaling
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.classification import task as classification
from medjax.train.record import write_json
from medjax.train.task import Task

BYTES = Preprocessing(0.0, 255.0, (0.4,), (0.2,))
RUN = Preprocessing(0.0, 255.0, (0.25,), (0.125,))


def find_start(init_from, *, model, scaling):
    return find(StartOptions(init_from, scaling), model=model)


@pytest.fixture
def file(tmp_path, rng):
    """A file with one array."""
    save_file({"conv1.weight": rng.normal(size=(4, 3, 3, 3))}, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def test_rows_name_a_network_and_a_scaling():
    for row in published.PUBLISHED.values():
        assert row.model in models.CLASSIFIERS and row.scaling in published.SCALINGS
        assert len(bytes.fromhex(row.sha256)) == 32


def test_a_file_that_is_another_one_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"new")
    row = next(iter(published.PUBLISHED.values()))._replace(find=lambda: tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w.pth: its sha256 is .*: install it again"):
        row.check()
    assert row._replace(sha256=hashlib.sha256(b"new").hexdigest()).check() == tmp_path / "w.pth"


def test_images_are_scaled_as_their_author_says(file):
    """127 is 0 and 255 is 1 for EfficientNet-Lite; ImageNet's means are of the three channels."""
    pixels = jnp.array([[127, 255, 0]], jnp.uint8)
    lite = find_start(file, model="cnn", scaling="lite").scale(BYTES, channels=3)
    found = lite.standardise(lite.unit(pixels))
    np.testing.assert_allclose(found, [[0, 1, -127 / 128]], atol=1e-6)
    imagenet = find_start(file, model="cnn", scaling="imagenet").scale(BYTES, channels=3)
    found = imagenet.standardise(imagenet.unit(pixels))
    by_hand = [(127 / 255 - 0.485) / 0.229, (1 - 0.456) / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(found, [by_hand], atol=1e-5)
    assert find_start(file, model="cnn", scaling="set").scale(BYTES, channels=1) == BYTES


@pytest.mark.parametrize(("scaling", "channels"), [("imagenet", 3), ("half", 1)])
def test_gray_images_are_repeated_or_kernels_summed(file, scaling, channels):
    """Where the scaling differs between channels the network has three, else one."""
    start = find_start(file, model="cnn", scaling=scaling)
    gray = start.scale(BYTES, channels=1)
    image = jnp.array(np.random.default_rng(1).integers(0, 255, (1, 6, 7, 1)), jnp.uint8)
    shown = gray.standardise(gray.unit(image))
    assert shown.shape[-1] == channels
    coloured = start.scale(BYTES, channels=3)
    wanted = coloured.standardise(coloured.unit(jnp.repeat(image, 3, -1)))

    def first_layer(inputs):
        kernel = jnp.zeros((3, 3, inputs.shape[-1], 4))
        fresh = {"params": {"conv1": {"conv": {"kernel": kernel}}}, "batch_stats": {}}
        kernel = start.replace(fresh)["params"]["conv1"]["conv"]["kernel"]
        return jax.lax.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    np.testing.assert_allclose(first_layer(shown), first_layer(wanted), atol=1e-5)


def test_a_network_of_gray_images_takes_three_channels_where_weights_have_them(file):
    gray = find_start(file, model="cnn", scaling="imagenet").scale(BYTES, channels=1)
    net = models.classifier("cnn", num_classes=2)
    task = classification.make(net, image_shape=(16, 16, 1), num_classes=2, preprocessing=gray)
    params, stats = task.init(jax.random.key(0))
    answer = task.predict(params, stats, {"image": jnp.zeros((2, 16, 16, 1), jnp.uint8)})
    assert answer["probability"].shape == (2, 2)
    first = next(x for x in jax.tree.leaves(params) if x.ndim == 4)
    assert first.shape[-2] == 3


def test_coloured_images_need_weights_of_them(file):
    start = find_start(file, model="cnn", scaling="xrayvision")
    with pytest.raises(UserError, match="1 channels, images of 3: give `channels=gray`"):
        start.scale(BYTES, channels=3)


def write_run(folder, classes):
    """What a run of a small network leaves."""
    net = models.classifier("cnn", num_classes=classes)
    made = net.init(jax.random.key(1), jnp.zeros((1, 16, 16, 1)), train=False)
    tree = (made["params"], made.get("batch_stats", {}))
    folder.mkdir()
    weights.write(folder / weights.NAME, jax.tree.map(lambda x: x[None], tree))
    about = {"low": RUN.low, "high": RUN.high, "mean": list(RUN.mean), "sd": list(RUN.sd)}
    write_json(folder / "config.json", {"dataset": "a_set", "trained": {"preprocessing": about}})
    return tree


def test_a_run_gives_all_but_its_last_layer_and_its_scaling(tmp_path):
    before = write_run(tmp_path / "run", classes=5)
    start = find_start(str(tmp_path / "run"), model="cnn", scaling="")
    assert start.scale(BYTES, channels=1) == RUN
    assert start.facts["source"] == "a run on a_set"
    net = models.classifier("cnn", num_classes=2)
    shape = jnp.zeros((1, 16, 16, 1))

    def init(key):
        made = net.init(key, shape, train=False)
        return made["params"], made.get("batch_stats", {})

    fresh, found = init(jax.random.key(7)), start.init(init)(jax.random.key(7))
    for (path, a), b, own in zip(
        jax.tree_util.tree_leaves_with_path(found[0]),
        jax.tree.leaves(before[0]),
        jax.tree.leaves(fresh[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, own if path[0].key == "fc" else b)


def test_weights_of_the_hub_are_named_with_their_revision(file, monkeypatch):
    asked = []

    def fetch(*names):
        asked.append(names)
        return pathlib.Path(file), "1" * 40

    monkeypatch.setattr("medjax.bundle.hub.fetch_file", fetch)
    start = find_start("hub:someone/net/deep/w.safetensors", model="cnn", scaling="half")
    assert asked == [("someone/net", "deep/w.safetensors")]
    assert start.facts["source"] == f"the Hub, revision {'1' * 40}"


def test_nothing_is_started_from_where_nothing_is_named():
    assert find(StartOptions(), model="cnn") is None
    assert find_training(TrainedStartOptions()) is None
    task, fitted = object(), Preprocessing(0.0, 1.0, (0.1,), (0.2,))
    assert Start().begin(task) is task and Start().scale(fitted, channels=1) is fitted
    with pytest.raises(UserError, match="`init_scaling` is for weights to start from"):
        StartOptions("", "half")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_from": "hub:someone/net"}, "give hub:ORGANISATION/NAME/FILE"),
        ({"init_from": "hub:someone/net/w.pth"}, "how do these weights want images scaled"),
        ({"init_from": "nowhere"}, "no such file or folder; known by name: efficientnet_lite0"),
        ({"init_from": "efficientnet_lite0_imagenet"}, "give `model=efficientnet_lite0`"),
        (
            {"init_from": "efficientnet_lite0_imagenet", "model": "efficientnet_lite0"}
            | {"scaling": "half"},
            "`init_scaling=half`: efficientnet_lite0_imagenet wants lite",
        ),
        ({"init_from": "FILE"}, "how do these weights want images scaled"),
        ({"init_from": "FOLDER"}, "holds no run that has ended"),
        ({"init_from": "FOLDER", "scaling": "half"}, "leave it out"),
    ],
)
def test_what_cannot_be_started_from_is_told(settings, message, file, tmp_path):
    places = {"FILE": file, "FOLDER": str(tmp_path)}
    given = {"model": "cnn", "scaling": "", **settings}
    with pytest.raises(UserError, match=message):
        find_start(**given | {"init_from": places.get(given["init_from"], given["init_from"])})


@pytest.mark.parametrize(("digest", "noted"), [("same", False), ("other", True)])
def test_a_run_depends_on_its_weights_and_says_what_they_may_have_seen(
    tmp_path, capsys, digest, noted
):
    write_run(tmp_path / "run", classes=5)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    write_json(tmp_path / "run" / "config.json", {**settings, "data_sha1": "same"})
    info = types.SimpleNamespace(name="a_set")
    run = types.SimpleNamespace(
        depends_on={}, started_from={}, dataset=types.SimpleNamespace(info=info, digest=digest)
    )
    start = start_run(run, StartOptions(str(tmp_path / "run")), model="cnn")
    assert run.depends_on == {"started_from": start.facts["sha256"]}
    assert ("on cases that are reported" in capsys.readouterr().out) is noted
    assert ("note" in run.started_from) is noted


def segmenting(outputs, width=4):
    """The initialisation and task of a small U-Net."""
    net = models.segmenter("unet", num_classes=outputs, width=width, levels=2)

    def init(key):
        return dict(net.init(key, jnp.zeros((1, 8, 8, 1)), train=False))["params"], {}

    return Task(init, init, init)


@pytest.mark.parametrize("outputs", [3, 2])
def test_a_dense_network_starts_from_all_layers_that_fit(tmp_path, capsys, outputs):
    """The last layer too, unless it has another number of answers, which is said."""
    write_run(tmp_path / "run", classes=5)  # for its settings
    before = segmenting(3).init(jax.random.key(1))
    tree = jax.tree.map(lambda x: x[None], before)
    weights.write(tmp_path / "run" / weights.NAME, tree)
    start = find_training(TrainedStartOptions(str(tmp_path / "run")))
    task = segmenting(outputs)
    fresh = weights.flat(task.init(jax.random.key(7)))
    made = weights.flat(start.begin(task).init(jax.random.key(7)))
    old = weights.flat(before)
    new = {name for name in made if not np.array_equal(made[name], old[name])}
    assert new == (set() if outputs == 3 else {name for name in made if "/out/" in name})
    for name in new:
        np.testing.assert_array_equal(made[name], fresh[name])
    said = capsys.readouterr().out
    assert all(name in said for name in new) and bool(said) == bool(new)


def test_weights_of_another_network_are_refused(tmp_path):
    write_run(tmp_path / "run", classes=5)
    tree = jax.tree.map(lambda x: x[None], segmenting(3).init(jax.random.key(1)))
    weights.write(tmp_path / "run" / weights.NAME, tree)
    start = find_training(TrainedStartOptions(str(tmp_path / "run")))
    with pytest.raises(
        UserError, match=r"bias is float32 of \(4,\) where .* \(6,\): give the `model`"
    ):
        start.begin(segmenting(3, width=6)).init(jax.random.key(0))
    (tmp_path / "notes.txt").write_text("")
    for name, message in (("none", "no such file or folder"), ("notes.txt", "is neither")):
        with pytest.raises(UserError, match=f"{message}; name the work directory of a run, or"):
            find_training(TrainedStartOptions(str(tmp_path / name)))


def test_what_the_number_of_answers_changes_is_of_no_other_width():
    """As of SpatialConfiguration-Net, which maps answers to answers."""

    def tree(n, width=8):
        layers = {"spatial": (15, n, n), "mixed": (11, n, width), "local": (3, width, n)}
        body = {f"conv{i}": (3, width, width) for i in range(4)}
        return {k: np.zeros(v) for k, v in (layers | body).items()}, {}

    of = {f"params/{k}": v for k, v in tree(5)[0].items()}
    assert set(weights.list_resized(of, tree(3))) == {
        f"params/{k}" for k in ("spatial", "mixed", "local")
    }
    assert weights.list_resized(of, tree(5)) == []
    assert weights.list_resized(of, tree(3, width=16)) == []  # two lengths differ
    assert weights.list_resized(of, tree(5, width=16)) == []  # most arrays do
    first = ({**tree(5)[0], "conv0": np.zeros((3, 1, 8))}, {})  # of gray images
    assert weights.list_resized(of, first) == []


def test_limits_go_with_weights_unless_one_set_has_bytes():
    of_ct = Start(Scaling((0.5,), (0.25,)), {"sha256": "a"}, limits=(-100.0, 400.0))
    other = Preprocessing(-1000.0, 900.0, (0.1,), (0.2,))
    assert of_ct.scale(other, channels=1) == Preprocessing(-100.0, 400.0, (0.5,), (0.25,))
    assert of_ct.scale(BYTES, channels=1) == Preprocessing(0.0, 255.0, (0.5,), (0.25,))


def test_a_trained_run_is_reported_without_the_weights_that_it_began_with(tmp_path):
    write_run(tmp_path / "run", classes=5)
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    write_json(tmp_path / "run" / "config.json", {**settings, "started_from": "a1"})
    config = types.SimpleNamespace(report=types.SimpleNamespace(eval_only=True))
    run = types.SimpleNamespace(
        workdir=tmp_path / "run", config=config, depends_on={}, started_from={}
    )
    start = start_run(run, TrainedStartOptions(str(tmp_path / "gone")), once=True)
    assert run.depends_on == {"started_from": "a1"} == {"started_from": run.started_from["sha256"]}
    assert start.scale(BYTES, channels=1) == RUN


def test_a_run_on_a_folder_is_known_by_the_name_of_its_set(tmp_path):
    write_run(tmp_path / "run", classes=5)
    path = tmp_path / "run" / "config.json"
    settings = json.loads(path.read_text())
    settings["trained"]["info"] = {"name": "my_scans"}
    write_json(path, {**settings, "dataset": "mask_folder"})
    assert find_start(str(tmp_path / "run"), model="cnn", scaling="").facts["trained_on"] == (
        "my_scans"
    )


def test_a_run_does_not_start_from_itself(tmp_path):
    config = types.SimpleNamespace(
        start=TrainedStartOptions(str(tmp_path / "." / "run")),
        report=types.SimpleNamespace(eval_only=False),
    )
    with pytest.raises(UserError, match="is the `workdir` itself; choose another `workdir`"):
        check_folders(tmp_path / "run", config)

"""What TensorBoard and Weights & Biases are told."""

import builtins
import struct
import sys

import pytest
from PIL import Image

from medjax.errors import UserError
from medjax.experiment import trackers


def events(folder):
    """The events of the files in a folder, read by the format's own definition."""
    from tensorboardX.proto import event_pb2

    for path in sorted(folder.glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack("<Q", content[at : at + 8])
            event = event_pb2.Event()
            event.ParseFromString(content[at + 12 : at + 12 + length])
            yield event
            at += 16 + length


def test_event_files_hold_scalars_and_figures(tmp_path):
    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "roc.png")
    (tracker,) = trackers.open_trackers(tmp_path, {}, tensorboard=True, wandb=False)
    tracker.write(
        10, {"loss": 0.5, "validation_auc": 0.75, "note": "x", "not_finite": float("nan")}
    )
    tracker.finish({"auc": 0.8}, [tmp_path / "roc.png"])
    tracker.close()
    values = {
        v.tag: (e.step, v.simple_value if v.HasField("simple_value") else v.image.width)
        for e in events(tmp_path / "tensorboard")
        for v in e.summary.value
    }
    assert values == {
        "loss": (10, 0.5),
        "validation_auc": (10, 0.75),
        "report/auc": (0, pytest.approx(0.8)),
        "figures/roc": (0, 6),
    }


def test_an_extra_that_is_not_there_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name in ("tensorboardX", "wandb"):
            raise ImportError(name)
        return real(name, *args, **options)

    for option, package in (("tensorboard", "tensorboardX"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(
            UserError, match=rf"`{option}` needs .* pip install 'medjax\[{option}\]'"
        ):
            trackers.check_trackers(**{"tensorboard": False, "wandb": False, option: True})


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    Image.new("RGB", (6, 4)).save(tmp_path / "roc.png")
    (tracker,) = trackers.open_trackers(tmp_path, {"steps": 3}, tensorboard=False, wandb=True)
    tracker.write(1, {"loss": 0.5})
    tracker.finish({"auc": 0.8}, [tmp_path / "roc.png"])
    tracker.close()
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))

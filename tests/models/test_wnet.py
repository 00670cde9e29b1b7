"""W-Net: its size, the importer of the authors' weights, and their answer to real photographs."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medjax.errors import UserError
from medjax.models import tensor_files, wnet
from tests.conftest import real_data

NET = wnet.WNet(1)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(
        lambda: NET.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    )


def test_it_is_small_and_both_maps_have_the_size_of_the_image(shapes):
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == 68_482
    (second, first), _ = jax.eval_shape(
        lambda v: NET.apply(v, jnp.zeros((2, 24, 32, 3)), train=True, mutable=["batch_stats"]),
        shapes,
    )
    assert first.shape == second.shape == (2, 24, 32, 1)


def test_weights_of_another_network_are_refused(shapes):
    with pytest.raises(UserError, match=r"the weights lack 'unet1\.conv_"):
        wnet.published_weights(
            {"params": {"unet1": {"conv_a": {"kernel": jnp.zeros((3, 3, 1, 1))}}}}, {}
        )


def picture(path, mode):
    with Image.open(path) as file:
        return file.convert(mode)


def field_of_view(photograph):
    """The box about what is not black."""
    bright = np.asarray(photograph).max(2) > 35
    sides = [np.flatnonzero(bright.mean(axis) > 0.1) for axis in (1, 0)]
    return tuple(slice(side[0], side[-1] + 1) for side in sides)


def test_the_authors_weights_find_vessels(shapes):
    """Trained on DRIVE; of CHASE_DB1 the published AUC of such a network is about 0.97."""
    data, weights = real_data("chasedb1"), real_data("weights")
    tensors = tensor_files.read(weights / "lwnet_wnet_drive.safetensors")
    variables = wnet.published_weights(shapes, tensors)
    predict = jax.jit(lambda x: NET.apply(variables, x, train=False))
    truth, answer = [], []
    rows = list(csv.DictReader((data / "images.csv").read_text().splitlines()))
    for name in (row["image"] for row in rows if row["split"] == "val"):
        photograph = picture(data / "images" / f"{name}.jpg", "RGB")
        box = field_of_view(photograph)
        crop = photograph.crop((box[1].start, box[0].start, box[1].stop, box[0].stop))
        pixels = np.asarray(crop.resize((512, 512), Image.Resampling.BILINEAR), np.float32)
        mask = picture(data / "observer1" / f"{name}.png", "L")
        vessels = Image.fromarray(np.asarray(mask)[box]).resize((512, 512), Image.Resampling.BOX)
        truth.append(np.asarray(vessels).ravel() > 127)
        answer.append(np.asarray(predict(pixels[None] / 255)).ravel())
    assert roc_auc_score(np.concatenate(truth), np.concatenate(answer)) > 0.96

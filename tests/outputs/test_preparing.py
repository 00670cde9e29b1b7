"""New images made ready: which files are images, and which are channels of one."""

import types

import numpy as np
import pytest
from PIL import Image

from medjax.outputs.base import ImageHints
from medjax.outputs.boxes import BOXES
from medjax.outputs.masks import MASKS
from medjax.outputs.preparing import prepare_images

NAMES = ("a_0000.png", "a_0001.png", "b.png")


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(NAMES):
        Image.fromarray(np.full((6, 8), 10 + number, np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("output", [MASKS, BOXES])
@pytest.mark.parametrize(("count", "listed"), [(2, ["a_0000.png", "b.png"]), (1, list(NAMES))])
def test_files_are_channels_of_one_image_where_the_network_has_as_many(
    folder, output, count, listed
):
    """Else they are images of their own, as the frames of a video."""
    spec = types.SimpleNamespace(image_shape=(6, 8, count))
    found = output.prepare.list_files(folder, spec)
    assert [p.name for p in found.files] == listed


@pytest.mark.parametrize(("count", "values"), [(2, [10, 11]), (1, [10])])
def test_an_image_is_read_with_the_channels_of_the_training(folder, count, values):
    def show(raw_image, predictor, spec, *, case_id, hints):
        return raw_image.pixels

    spec = types.SimpleNamespace(image_shape=(6, 8, count))
    prepare = prepare_images(show, with_channels=True)
    path = folder / NAMES[0]
    (pixels,) = prepare.read(path, None, spec, case_id="a", hints=ImageHints())
    assert pixels.shape == (6, 8, count)
    assert pixels[0, 0].tolist() == values

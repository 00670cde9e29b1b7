"""New images made ready: which files are images, and which are channels of one."""

import types

import numpy as np
import pytest
from PIL import Image

from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing
from medjax.outputs import exam_images
from medjax.outputs.base import ImageHints, ModelSpec
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


@pytest.mark.parametrize("mixed", [True, False])
def test_pictures_go_to_a_network_of_scans_where_its_training_had_some(mixed):
    """Values as they are, as float32."""
    info = DatasetInfo("set", ("a", "b"), mixed=mixed)
    spec = ModelSpec(info, Preprocessing(0.0, 255.0, (0.5,), (0.2,)), (6, 8, 1), "float32")
    predictor = types.SimpleNamespace(image_size=0, fit="pad")
    picture = RawImage(np.full((6, 8, 1), 7, np.uint8))

    def prepare():
        return exam_images.prepare(picture, predictor, spec, case_id="p", hints=ImageHints())

    if mixed:
        assert prepare().image.dtype == np.float32 and (prepare().image == 7).all()
    else:
        with pytest.raises(UserError, match="its pixels are uint8"):
            prepare()

"""Files are read by several threads at a time, and nothing shows it."""

import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from medjax.data import images, pictures, source
from medjax.data.builders.base import in_order
from medjax.data.options import DataOptions
from medjax.errors import UserError


def test_results_come_in_order_and_few_wait():
    begun, peak = [], 0

    def work(number):
        begun.append(number)
        time.sleep(0.01 * (number % 3))
        return number

    results = []
    for result in in_order(work, range(20), workers=3):
        peak = max(peak, len(begun) - len(results))
        results.append(result)
    assert results == list(range(20))
    assert 2 <= peak <= 5  # three wait or are worked at, beside the one that is handed out


def test_an_error_comes_in_its_turn_and_the_rest_is_not_begun():
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            raise UserError("the third")
        return number

    made = in_order(work, range(100), workers=2)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(UserError, match="the third"):
        next(made)
    assert len(begun) < 8


def test_of_the_first_alone_no_other_is_read():
    begun = []
    assert next(in_order(lambda n: begun.append(n) or n, range(9), workers=1)) == 0
    assert begun == [0]


def test_a_set_without_an_image_that_can_be_read(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(b"no picture")
    options = DataOptions(data_dir=str(tmp_path / "set"), skip_bad=True)
    with pytest.raises(UserError, match=r"set`: no image can be read, such as .*1\.png.* 2 more"):
        source.load("image_folder", options=options, cache_dir=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_threads_share_the_bound_of_pillow_and_give_it_back(tmp_path):
    """Pictures that ask for no bound and frames that ask for one, at once."""
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    shown, before, filters = [], Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def read():
        for _ in range(40):
            shown.append(images.read(tmp_path / "a.png").pixels.shape)

    def bounded():
        for _ in range(40):
            with pictures.no_larger(tmp_path, limit_bytes=2400):  # 100 pixels, and twice as many
                shown.append(Image.MAX_IMAGE_PIXELS)
            with (
                pytest.raises(UserError, match="a frame of it needs more"),
                pictures.no_larger(tmp_path, limit_bytes=2400),
            ):
                Image.open(tmp_path / "a.png")

    threads = [threading.Thread(target=f) for f in (read, bounded, read, bounded)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, shown)) == ["(40, 60, 1)"] * 80 + ["100"] * 80
    assert before == Image.MAX_IMAGE_PIXELS and list(warnings.filters) == filters


@pytest.mark.parametrize(
    "old, new", [((33, 20, 1), (9, 20)), ((7, 5, 3), (11, 3)), ((9, 8, 7, 1), (4, 8, 2))]
)
def test_resizing_is_a_gaussian_and_linear_interpolation(rng, old, new):
    """As scipy's filter and zoom, one after the other."""
    from scipy import ndimage

    pixels = rng.normal(size=old).astype(np.float32)
    zoom = [n / o for n, o in zip(new, old, strict=False)]
    sd = [max(0.0, (1 / z - 1) / 2) for z in zoom]
    smooth = ndimage.gaussian_filter(pixels, [*sd, 0.0], mode="nearest")
    right = ndimage.zoom(smooth, [*zoom, 1.0], order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(images.resize(pixels, new), right, atol=1e-5)

"""`experiments.sononet`: what bad input gets; tests/models has the real frames."""

import numpy as np
import pytest

from experiments import sononet
from medjax import app
from medjax.errors import UserError


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "`input=.`: no such file|`input=.*no pictures"),
        (("--crop=1,2",), "`crop`: give first and last row"),
        (("--threshold=0",), "`threshold=0.0`"),
        (("--input=PICTURES", "--weights=none.npz"), r"none.npz: not a readable"),
    ],
)
def test_bad_settings_are_told_in_one_line(tmp_path, flags, words):
    from PIL import Image

    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a.png")
    given = [f.replace("PICTURES", str(tmp_path)) for f in flags]
    config = app.parse(sononet.Config, ["x", f"--workdir={tmp_path / 'w'}", *given], "x")
    with pytest.raises(UserError, match=words):
        sononet.main(config)
    assert not (tmp_path / "w").exists()


def test_a_crop_beyond_the_picture_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"is 30 x 20, and `crop=.*` does not lie in it"):
        sononet.cut(np.zeros((20, 30, 1)), (115, 734, 81, 874), origin=tmp_path / "a.png")

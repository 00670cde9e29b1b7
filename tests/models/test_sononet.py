"""SonoNet: its shape, the importer of the authors' weights, and their nine frames."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.models import sononet
from medjax.tasks import sononet as frames
from tests.conftest import real_data


@pytest.fixture(scope="module")
def shapes():
    model = sononet.SonoNet()
    blank = jnp.zeros((1, *sononet.SIZE, 1))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), blank, train=False))


def test_the_map_has_14_by_18_places():
    model = sononet.SonoNet()
    blank = jnp.zeros((1, *sononet.SIZE, 1))
    found = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), blank, train=False, maps=True)[0]
    )
    assert found.shape == (1, 14, 18, 14)


def arrays_of(shapes, rng):
    """Random arrays in the order of Lasagne."""
    out = []
    for number in range(1, 16):
        kernel = shapes["params"][f"conv{number}"]["conv"]["kernel"].shape
        out.append(rng.normal(size=(kernel[3], kernel[2], *kernel[:2])).astype(np.float32))
        out += [rng.uniform(0.5, 2.0, kernel[3]).astype(np.float32) for _ in range(4)]
    return out


def test_the_importer_keeps_their_formula(shapes, rng):
    """Their batch norm is (x - mean) gamma inv_std + beta."""
    arrays = arrays_of(shapes, rng)
    assert sum(a.size for a in arrays) == 933_064
    variables = sononet.from_lasagne(shapes, arrays)
    _, beta, gamma, mean, inverse_sd = arrays[:5]
    x = rng.normal(size=16)
    norm, stats = variables["params"]["bn1"]["norm"], variables["batch_stats"]["bn1"]["norm"]
    ours = (x - stats["mean"]) / np.sqrt(stats["var"] + sononet.EPSILON) * norm["scale"] + norm[
        "bias"
    ]
    np.testing.assert_allclose(ours, (x - mean) * gamma * inverse_sd + beta, rtol=1e-4)
    kernel = variables["params"]["conv2"]["conv"]["kernel"]
    assert float(kernel[0, 1, 2, 3]) == arrays[5][3, 2, 0, 1]


def test_what_is_no_sononet_is_said(tmp_path, shapes, rng):
    np.savez(tmp_path / "few.npz", np.zeros(3))
    with pytest.raises(UserError, match=r"few.npz: has 1 arrays"):
        sononet.read(tmp_path / "few.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(UserError, match=r"text.npz: not a readable"):
        sononet.read(tmp_path / "text.npz")
    np.savez(tmp_path / "code.npz", np.array([{}], dtype=object))
    with pytest.raises(UserError, match=r"code.npz: not a readable"):  # a pickle is never run
        sononet.read(tmp_path / "code.npz")
    arrays = arrays_of(shapes, rng)
    arrays[5] = arrays[5][:4]
    with pytest.raises(UserError, match="layer conv2: the weights have shape"):
        sononet.from_lasagne(shapes, arrays)


def test_the_box_holds_what_is_bright_and_no_speck():
    saliency = np.zeros((100, 120))
    saliency[40:60, 30:80] = 1.0
    saliency[5, 110] = 1.0
    _, box = frames.locate(saliency, threshold=0.3)
    np.testing.assert_allclose(box, (30, 40, 80, 60), atol=4)
    assert frames.locate(np.zeros((10, 20)), threshold=0.3)[1] == (0, 0, 20, 10)


@pytest.mark.parametrize("kind", ["sixteen", "float"])
def test_deeper_frames_are_the_same_frames(kind):
    """0 of 9 were right when 16 bits were taken for 8."""
    gray = np.tile(np.arange(256, dtype=np.uint8), (300, 2))[..., None]
    deep = gray.astype(np.uint16) * 257 if kind == "sixteen" else gray / np.float32(255)
    np.testing.assert_allclose(frames.prepare(deep), frames.prepare(gray), atol=1e-2)


def test_the_nine_real_frames_are_classified_right(tmp_path):
    from experiments import sononet as program

    root = real_data("sononet")
    program.main(
        program.Config(str(root / "SonoNet16.npz"), str(root / "frames"), str(tmp_path / "w"))
    )
    with (tmp_path / "w" / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 9
    for row in rows:
        assert row["case_id"] == f"{row['plane']}.png"
        assert float(row["confidence"]) > 0.5
        left, top, right, bottom = (float(row[k]) for k in ("left", "top", "right", "bottom"))
        assert 81 <= left < right <= 874
        assert 115 <= top < bottom <= 734
    assert (tmp_path / "w" / "boxes.png").stat().st_size > 50_000

"""A tiny trained network, and pictures with metadata."""

import numpy as np
import pytest
from PIL import Image

from tests.bundle import conftest as shared
from tests.bundle.conftest import classifier  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def network(tmp_path_factory, cache_dir):
    """The run of bits of tests/bundle: its work directory, and its folder of pictures."""
    return shared.made("retrieve", tmp_path_factory, cache_dir)


@pytest.fixture
def pictures(tmp_path):
    """Eight pictures of 12 x 12 with a table: subjects a, a, b, b, ...; one lacks its age."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(3)
    rows = ["path,subject_id,sex,age"]
    for i in range(8):
        pixels = draw.integers(0, 256, (12, 12)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"case_{i}.png")
        rows.append(f"case_{i}.png,{'abcd'[i // 2]},{'FM'[i % 2]},{'' if i == 5 else 40 + i}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder

"""Bundles that were made before the modules moved (2026-11-26) answer as they did."""

import json

import numpy as np
import pytest

from medjax import bundle
from tests.conftest import ROOT

KEPT = ROOT / "tests" / "bundle" / "kept"
IMAGES = {  # the shape of what was answered, and what was said of it
    "classify": ((12, 12), {}),
    "heatmap": ((30, 40), {"spacing_mm": 0.5}),
    "search": ((20, 18, 16), {"affine": np.diag([2.0, 2, 2, 1])}),
    "temporal": ((6, 16, 16), {}),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_kept_bundle_answers_as_it_did(name):
    """To a millionth where it was made; other processors round a little otherwise."""
    shape, more = IMAGES[name]
    image = (np.arange(np.prod(shape)) * 37 % 251).astype(np.uint8).reshape(shape)
    rows = bundle.load(KEPT / f"{name}.zip").predict(image, **more).rows()
    expected = json.loads((KEPT / f"{name}.json").read_text())["rows"]
    assert len(rows) == len(expected)
    for row, kept in zip(rows, expected, strict=True):
        assert list(row) == list(kept)
        for column, value in kept.items():
            assert row[column] == (
                value
                if isinstance(value, str)
                else pytest.approx(value, rel=1e-5, abs=1e-5, nan_ok=True)
            ), column

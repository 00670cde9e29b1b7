"""A training that starts from a bundle."""

import jax
import numpy as np
import pytest

from medjax import bundle
from medjax.bundle import archive
from medjax.errors import UserError
from medjax.experiment.starting import StartOptions, find_start


def test_a_bundle_gives_the_same_as_its_run(classifier, tmp_path):
    archive.write_zip(tmp_path / "b.zip", classifier.files)
    known = bundle.opened(classifier.files, where="b.zip")
    start = find_start(StartOptions(str(tmp_path / "b.zip")), model="cnn")
    assert start.scaling == (known.spec.preprocessing.mean, known.spec.preprocessing.sd)
    assert start.facts["source"].startswith("a bundle, trained on ")
    params, stats = jax.tree.map(lambda x: np.zeros_like(x[0]), known.weights)
    found = start.replace({"params": params, "batch_stats": stats})
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found["params"]),
        jax.tree.leaves(known.weights[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(a, 0 * b[0] if path[0].key == "fc" else b[0])
    damaged = {**classifier.files, "weights.safetensors": b"no"}
    archive.write_zip(tmp_path / "bad.zip", damaged)
    with pytest.raises(UserError, match=r"weights.safetensors: damaged"):
        find_start(StartOptions(str(tmp_path / "bad.zip")), model="cnn")

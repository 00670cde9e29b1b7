"""MeshNet: its size, how far it sees, and the importer of published weights."""

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.models import meshnet, tensor_files
from medjax.outputs.masks import metrics
from tests.conftest import real_data

NET = meshnet.MeshNet(3)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(
        lambda: NET.init(jax.random.key(0), jnp.zeros((1, 8, 8, 8, 1)), train=False)
    )


def test_it_is_small(shapes):
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 5_598


def test_it_sees_46_voxels_to_each_side():
    """Twice the sum of the dilations, and itself."""
    net, x = meshnet.MeshNet(1, width=1), jnp.ones((1, 121, 1, 1))
    ones = jax.tree.map(
        lambda leaf: jnp.ones(leaf.shape),
        jax.eval_shape(lambda: net.init(jax.random.key(0), x, train=False)),
    )
    slope = jax.grad(lambda x: net.apply(ones, x, train=False)[0, 60, 0, 0])(x)
    seen = np.flatnonzero(slope[0, :, 0, 0])
    assert (seen.min(), seen.max()) == (60 - 46, 60 + 46)


def test_weights_of_another_network_are_refused(shapes):
    with pytest.raises(UserError, match="the weights have 2 layers where 10 are needed"):
        meshnet.published_weights(shapes, {"3.kernel": np.zeros(1)})


def test_published_weights_have_the_shapes_that_are_needed(shapes):
    tensors = tensor_files.read(real_data("weights") / "brainchop_model5_gw_ae.safetensors")
    variables = meshnet.published_weights(shapes, tensors)
    kernel = variables["params"]["conv_0"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["21.kernel"])
    out = NET.apply(variables, jnp.zeros((1, 9, 9, 9, 1)), train=False)
    assert out.shape == (1, 9, 9, 9, 3) and jnp.isfinite(out).all()
    del tensors["21.kernel"], tensors["21.bias"]
    with pytest.raises(UserError, match="the weights have 9 layers"):
        meshnet.published_weights(shapes, tensors)


@pytest.mark.slow
def test_published_weights_find_grey_and_white_matter(shapes):
    """Of the 1 mm template, against its tissue maps: 1 is white matter, 2 grey. Axes lead down and
    to the front behind that from side to side; which side changes nothing."""
    weights, template = real_data("weights"), real_data("afids_mni")
    from nilearn import datasets

    head = nibabel.load(template / "mni152_2009aSym_1mm_T1w.nii.gz").get_fdata(dtype=np.float32)
    grey, white = (
        load(resolution=1).get_fdata()
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    true = np.where(np.maximum(grey, white) < 0.5, 0, np.where(white > grey, 1, 2))
    head, true = (x.transpose(0, 2, 1)[:, ::-1] for x in (head, true))
    tensors = tensor_files.read(weights / "brainchop_model5_gw_ae.safetensors")
    variables = meshnet.published_weights(shapes, tensors)
    scaled = (head - head.min()) / np.ptp(head)
    predict = jax.jit(lambda x: NET.apply(variables, x[None, ..., None], train=False).argmax(-1)[0])
    mask = np.asarray(predict(jnp.asarray(scaled)))
    scores = metrics.score(mask, true, labels=(1, 2), spacing=(1.0,) * 3, tolerance=1.0)
    assert scores[0, 0] > 0.85 and scores[1, 0] > 0.80

"""EfficientNet-Lite with the weights of ImageNet, on pictures of scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from medjax import models
from medjax.errors import UserError
from medjax.models import efficientnet, pretrained, tensor_files

data = pytest.importorskip("skimage.data", reason="needs the extra `instances`")

# Tabby, tiger cat, Egyptian cat; missile, projectile, space shuttle (which Lite1 says).
CATS, ROCKETS = (281, 282, 285), (657, 744, 812)
NAMES = dict.fromkeys(CATS, "cat") | dict.fromkeys(ROCKETS, "rocket") | {967: "espresso"}


def weights_or_skip(number):
    try:
        return tensor_files.read(efficientnet.published_weights(number))
    except UserError:
        pytest.skip("needs the extra `pretrained`")


def prepared(pixels, side):
    """The middle 7/8 of a picture, as the weights take it."""
    image = Image.fromarray(pixels)
    cut = int(min(image.size) * 0.875)
    left, top = ((n - cut) // 2 for n in image.size)
    part = image.crop((left, top, left + cut, top + cut)).resize((side, side), Image.BICUBIC)
    return (np.asarray(part, np.float32) - 127) / 128


@pytest.mark.parametrize(("number", "side", "count"), [(0, 224, 4_652_008), (1, 240, 5_416_680)])
def test_it_names_a_cat_an_espresso_and_a_rocket(number, side, count):
    tensors = weights_or_skip(number)
    net = models.classifier(f"efficientnet_lite{number}", num_classes=1000)
    shape = jnp.zeros((1, side, side, 3))
    made = jax.eval_shape(lambda key: net.init(key, shape, train=False), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(made["params"])) == count
    weights = pretrained.from_torch({k: made[k] for k in ("params", "batch_stats")}, tensors)
    images = np.stack([prepared(p(), side) for p in (data.chelsea, data.coffee, data.rocket)])
    logits = jax.jit(lambda w, x: net.apply(w, x, train=False))(weights, images)
    shown = [NAMES.get(int(i)) for i in logits.argmax(1)]
    assert shown == ["cat", "espresso", "rocket"]


def test_weights_of_another_size_are_refused():
    tensors = weights_or_skip(1)
    net = models.classifier("efficientnet_lite0", num_classes=1000)
    shape = jnp.zeros((1, 32, 32, 3))
    made = jax.eval_shape(lambda key: net.init(key, shape, train=False), jax.random.key(0))
    with pytest.raises(UserError, match=r"has shape|arrays too many"):
        pretrained.from_torch({k: made[k] for k in ("params", "batch_stats")}, tensors)

"""Networks with the layouts of torchvision and timm: made-up weights, answers equal to 1e-4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.models import pretrained
from tests.models import layouts

OURS = {"resnet18": "resnet18_224", "resnet34": "resnet34_224", "resnet50": "resnet50_224"} | {
    "densenet121": "densenet121_224",
    "densenet121_xrayvision": "densenet121_224",
    "vgg16_timm": "vgg16",
    "convnext_tiny_timm": "convnext_tiny",
    "efficientnet_b0_timm": "efficientnet_b0",
}
KEPT = layouts.read()


@pytest.mark.slow
@pytest.mark.parametrize("case", KEPT)
def test_answers_equal_the_reference(case):
    kept = KEPT[case]
    tensors = {k: layouts.make_weights(k, tuple(s)) for k, s in kept["shapes"].items()}
    images = layouts.make_images(kept["side"], kept["channels"])
    model = models.classifier(OURS.get(case, case), num_classes=layouts.CLASSES)
    fresh = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(images), train=False))
    fresh = {"params": fresh["params"], "batch_stats": fresh.get("batch_stats", {})}
    variables = pretrained.from_torch(fresh, tensors)
    found = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    scale = np.abs(kept["answers"]).max()
    np.testing.assert_allclose(found / scale, np.array(kept["answers"]) / scale, atol=1e-4)

"""The claim of the SpatialConfiguration-Net (Payer et al. 2016), on drawn hands."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.data import hand
from medjax.ops.augment import Augmentation
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.heatmap import task as heatmap
from medjax.train import feed, optim, state, step

JOINTS = 2
TIPS = [i for i, name in enumerate(hand.names(JOINTS)) if name.endswith("tip")]
STEPS = 400


def hands(first, count):
    drawn = [hand.draw(7, i, joints=JOINTS) for i in range(first, first + count)]
    return {
        "image": jnp.asarray(np.stack([image for image, _ in drawn])),
        "landmarks": jnp.asarray(np.stack([points for _, points in drawn]), jnp.float32),
    }


def confused(name, count):
    """Trains on `count` hands; how many tips of 40 others are found nearer to another finger's."""
    model = models.landmarker(name, num_landmarks=len(hand.names(JOINTS)), width=16)
    data = hands(0, count)
    task = heatmap.make(
        model,
        image_shape=data["image"].shape[1:],
        num_landmarks=len(hand.names(JOINTS)),
        sigma=2.0,
        preprocessing=Preprocessing(0.0, 255.0, (0.25,), (0.2,)),
        augmentation=Augmentation(rotate_degrees=10, translate=0.05, brightness=0.1),
    )
    optimizer = optim.make("adamw", learning_rate=3e-3, steps=STEPS, warmup_steps=20, clip_norm=1.0)
    params, stats = task.init(jax.random.key(0))
    learner = state.create(params, stats, optimizer)
    advance = step.make_advance(
        step.make_step(task.loss, optimizer),
        feed.pick_resident(partial(feed.batch_index, size=count, batch=8)),
    )
    learner, _ = jax.jit(advance)(jax.random.key(1), learner, data, STEPS)
    test = hands(1000, 40)
    predicted = jax.jit(task.predict)(learner.params, learner.stats, {"image": test["image"]})
    found = np.asarray(predicted["points"])[:, TIPS]
    true = np.asarray(test["landmarks"])[:, TIPS]
    away = np.linalg.norm(found[:, :, None] - true[:, None], axis=-1)  # [hand, found, true]
    return float((away.argmin(-1) != np.arange(len(TIPS))).mean())


@pytest.mark.slow
def test_local_appearance_confuses_fingers_and_the_spatial_configuration_does_not():
    local, whole = confused("scn_local", 10), confused("scn", 10)
    print(f"10 hands, tips confused: {local:.3f} by local appearance, {whole:.3f} by SCN")
    assert local > 0.2
    assert whole < 0.05

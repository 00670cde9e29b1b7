"""How layers are trained, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.experiment import FineTuningOptions
from medjax.models.features import list_layers
from medjax.train import optim
from medjax.train.options import TrainingOptions
from medjax.train.plan import make_optimizer

LAYERS = [("conv", "bn"), ("block",), ("fc",)]
PARAMS = {name: {"kernel": jnp.ones((1, 1))} for name in ("conv", "bn", "block", "fc")}


def test_each_layer_is_trained_slower_and_later_than_the_one_above():
    rates = optim.decay_layers(LAYERS, decay=0.5, unfreeze_steps=10)
    assert rates == {
        "conv": (0.25, 10),
        "bn": (0.25, 10),
        "block": (0.5, 5),
        "fc": (1.0, 0),
    }


def test_an_update_is_that_of_its_layer_and_step():
    """Plain descent of a gradient of one: steps of the rate."""
    options = TrainingOptions(
        steps=8,
        optimizer="sgd",
        momentum=0.0,
        learning_rate=1.0,
        schedule="constant",
        warmup_steps=0,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    rates = optim.decay_layers(LAYERS, decay=0.5, unfreeze_steps=4)
    optimizer = make_optimizer(options, layers=rates)
    state, moved = optimizer.init(PARAMS), []
    for _ in range(5):
        updates, state = optimizer.update(PARAMS, state, PARAMS)
        moved.append([float(updates[n]["kernel"][0, 0]) for n in ("conv", "bn", "block", "fc")])
    np.testing.assert_allclose(
        moved, [[0, 0, 0, -1]] * 2 + [[0, 0, -0.5, -1]] * 2 + [[-0.25, -0.25, -0.5, -1]]
    )


def test_rates_are_part_of_the_state_so_that_one_program_serves_all():
    def update(state):
        return optimizer.update(PARAMS, state, PARAMS)[0]

    programs = []
    for rates in (
        optim.decay_layers(LAYERS, decay=0.5, unfreeze_steps=4),
        dict.fromkeys(PARAMS, optim.LayerRate(1.0, 0)),
    ):
        optimizer = make_optimizer(TrainingOptions(), layers=rates)
        programs.append(str(jax.make_jaxpr(update)(optimizer.init(PARAMS))))
    assert programs[0] == programs[1]


def test_layers_are_those_that_an_image_passes_norms_with_their_convolution():
    network = models.classifier("resnet_slim", num_classes=2)
    assert list_layers(network, (32, 32, 1))[:2] == [("conv1", "bn1"), ("layer1_0",)]
    names = [name for names in list_layers(network, (32, 32, 1)) for name in names]
    assert set(names) == set(
        jax.eval_shape(
            lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)), train=False)
        )["params"]
    )


def test_without_a_wish_all_layers_are_alike():
    network = models.classifier("mlp", num_classes=2)
    assert FineTuningOptions().rates(network, (8, 8, 1)) is None
    rates = FineTuningOptions(layer_decay=0.5).rates(network, (8, 8, 1))
    assert rates == {"dense1": (0.25, 0), "dense2": (0.5, 0), "fc": (1.0, 0)}
    with pytest.raises(UserError, match="`layer_decay`: at most 1"):
        FineTuningOptions(layer_decay=1.5)


def test_what_a_transformer_keeps_outside_its_layers_belongs_to_the_first():
    names = list_layers(models.classifier("vit_small", num_classes=2), (28, 28, 1))
    assert {"cls_token", "pos_embed"} < set(names[0])
    assert sum(map(len, names)) == len({name for some in names for name in some})

"""Several settings tried as one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import UserError
from medjax.train import optim, several, state
from medjax.train.several import Choice


def test_values_go_in_pairs_or_one_with_all():
    assert several.choices((0.1, 0.2), (1.0, 2.0)) == [Choice(0.1, 1.0), Choice(0.2, 2.0)]
    assert several.choices((0.1,), (1.0, 2.0)) == [Choice(0.1, 1.0), Choice(0.1, 2.0)]
    assert several.choices((0.1,), (1.0,)) == [Choice(0.1, 1.0)]
    with pytest.raises(UserError, match="give as many, or one"):
        several.choices((0.1, 0.2, 0.3), (1.0, 2.0))


@pytest.mark.parametrize("only", [(), ("a",)])
def test_each_learner_has_the_numbers_of_its_choice(only):
    """Plain gradient descent by hand: p - rate (gradient + decay p), on kernels."""
    optimizer = optim.make(
        "sgd",
        learning_rate=9.0,
        steps=10,
        schedule="constant",
        momentum=0.0,
        weight_decay=9.0,
        only=only,
    )
    params = {"a": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full((1,), 2.0)}}
    tried = [Choice(0.1, 0.5), Choice(0.01, 0.0)]
    states = jax.vmap(lambda _: state.create(params, {}, optimizer))(jnp.arange(4))
    states = several.tune(states, tried, seeds=2)

    def update(now):
        gradient = jax.tree.map(jnp.ones_like, now.params)
        return optax.apply_updates(now.params, optimizer.update(gradient, now.opt, now.params)[0])[
            "a"
        ]

    after = jax.vmap(update)(states)
    kernel = [2 - 0.1 * (1 + 0.5 * 2)] * 2 + [2 - 0.01] * 2
    np.testing.assert_allclose(after["kernel"].ravel(), kernel, rtol=1e-6)
    np.testing.assert_allclose(after["bias"].ravel(), [1.9] * 2 + [1.99] * 2, rtol=1e-6)
    first, second = (several.of_choice(after, i, seeds=2)["bias"] for i in (0, 1))
    np.testing.assert_allclose(first, 1.9, rtol=1e-6)
    np.testing.assert_allclose(second, 1.99, rtol=1e-6)


@pytest.mark.parametrize(("higher", "best"), [(True, 1), (False, 0)])
def test_validation_chooses_and_what_is_not_finite_is_worst(higher, best):
    score = {0: 0.2, 1: 0.7, 2: 0.9 if higher else 0.0}

    def evaluate(weights):
        number = int(weights[0])
        return {"loss": np.nan if number == 2 else 1.0, "auc": score[number]}

    whole = several.judged(evaluate, score="auc", higher=higher, seeds=1, count=3)
    found = whole(jnp.array([0, 1, 2]))
    assert found["choice"] == best and found["auc"] == score[best]
    assert (found["auc_of_0"], found["auc_of_1"]) == (0.2, 0.7) and np.isnan(found["auc_of_2"])


def test_weights_that_are_not_finite_are_worst_though_their_score_is_fine():
    """An undefined score of sound weights ranks above them."""

    def evaluate(weights):
        return {"e": float(jnp.nan_to_num(weights[0], nan=0.0)) if weights[0] != 5.0 else np.nan}

    whole = several.judged(evaluate, score="e", higher=False, seeds=1, count=2)
    found = whole(jnp.array([jnp.nan, 3.0]))
    assert found["choice"] == 1 and np.isnan(found["e_of_0"]) and found["e_of_1"] == 3.0
    found = whole(jnp.array([jnp.nan, 5.0]))
    assert found["choice"] == 1 and np.isnan(found["e"])


def test_each_choice_is_told_at_its_own_best_step():
    lines = [
        {"step": 1, "validation_e_of_0": 3.0, "validation_e_of_1": 1.0},
        {"step": 2, "validation_e_of_0": 2.0, "validation_e_of_1": None},
        {"step": 2},
    ]
    rows = several.table(
        [Choice(0.1, 0.0), Choice(0.2, 0.0), Choice(0.3, 0.0)], lines, score="e", higher=False
    )
    assert [(r["learning_rate"], r["step"]) for r in rows] == [(0.1, 2), (0.2, 1), (0.3, None)]
    assert rows[0]["value"] == 2.0 and rows[1]["value"] == 1.0 and np.isnan(rows[2]["value"])

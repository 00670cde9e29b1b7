"""What last layers answer, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax import heads
from medjax.data.info import DatasetInfo
from medjax.errors import UserError

LOG2 = float(np.log(2))


def test_a_grade_between_two_is_shared_by_both():
    # Four grades, so that a value of 0 is the grade 1.5, and -0.3 the grade 1.2.
    assert heads.spread_grade(jnp.array([-0.3]), 4) == pytest.approx([0, 0.8, 0.2, 0], abs=1e-6)
    assert heads.spread_grade(jnp.array([9.0]), 4) == pytest.approx([0, 0, 0, 1])
    assert heads.spread_grade(jnp.array([-9.0]), 4) == pytest.approx([1, 0, 0, 0])


def test_the_error_of_a_grade_is_squared():
    target = jnp.array([0.0, 0, 0, 1])
    assert heads.grade_error(jnp.array([0.0]), target) == pytest.approx(1.5**2)
    joint = heads.joint_loss(jnp.zeros(5), target)
    assert joint == pytest.approx((np.log(4) + 1.5**2) / 2)


def test_a_chain_of_questions_multiplies():
    # Half go on from each of three grades: 1/2, 1/4 and the rest.
    assert heads.chain_probability(jnp.zeros(2), 3) == pytest.approx([0.5, 0.25, 0.25])


@pytest.mark.parametrize("case", [(0, LOG2 / 2), (1, LOG2), (2, LOG2)])
def test_a_chain_asks_only_those_who_came_so_far(case):
    grade, loss = case  # the first grade is asked one question of two
    target = jax.nn.one_hot(grade, 3)
    assert heads.rank_consistent_loss(jnp.zeros(2), target) == pytest.approx(loss)


@pytest.mark.parametrize("name", heads.HEADS)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6))
def test_values_mean_what_they_were_made_of(name, seed, classes):
    head = heads.HEADS[name]
    p = jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(classes)), jnp.float32)
    values = head.values(p)
    assert values.shape == (head.size(classes),)
    again = np.asarray(head.decode(values, classes))
    assert again.sum() == pytest.approx(1, abs=1e-5)
    assert heads.mean_grade(again) == pytest.approx(float(heads.mean_grade(p)), abs=1e-3)
    if name != heads.REGRESSION:  # which knows the mean alone
        np.testing.assert_allclose(again, p, atol=1e-4)


@pytest.mark.parametrize("name", heads.HEADS)
def test_the_loss_is_least_where_the_answer_is_right(name):
    head = heads.HEADS[name]
    target = jax.nn.one_hot(2, 4)
    right, wrong = head.values(target), head.values(jax.nn.one_hot(1, 4))
    assert head.loss(right, target) < 1e-6 < head.loss(wrong, target)


def test_grades_need_an_order():
    with pytest.raises(UserError, match=r"head=corn.*no order.*class_order"):
        heads.check_head("corn", DatasetInfo("cats", ("tabby", "calico")))
    heads.check_head("classes", DatasetInfo("cats", ("tabby", "calico")))


@pytest.mark.parametrize(
    ("head", "info", "has"),
    [
        ("corn", DatasetInfo("ages", quantities=("age",)), "quantities"),
        ("classes", DatasetInfo("ages", quantities=("age",)), "quantities"),
        ("quantities", DatasetInfo("chests", findings=("mass",)), "findings"),
        ("quantities", DatasetInfo("cats", ("tabby", "calico")), "classes"),
    ],
)
def test_a_head_of_something_else_is_told(head, info, has):
    with pytest.raises(UserError, match=f"`head={head}`: {info.name} has {has}; leave"):
        heads.check_head(head, info)
    heads.check_head(heads.name_head(info, "classes"), info)


def test_quantities_are_learnt_in_standard_deviations_and_told_in_their_unit():
    head = heads.make_quantity_head(((50.0, 10.0), (4.0, 2.0)))
    target = head.encode(jnp.array([[60.0, jnp.nan]]), 2)[0]
    assert target[0] == 1 and jnp.isnan(target[1])
    assert head.decode(jnp.array([1.0, -1.0]), 2) == pytest.approx([60, 2])
    assert head.values(jnp.array([60.0, 2.0])) == pytest.approx([1, -1])
    # One known quantity, two deviations off: half of its square.
    assert head.loss(jnp.array([3.0, 9.0]), target) == pytest.approx(2)
    assert head.rate(jnp.array([80.0, 0.0]), target) == pytest.approx(2)
    unknown = jnp.full(2, jnp.nan)
    assert head.loss(jnp.ones(2), unknown) == 0
    assert np.isfinite(jax.grad(head.loss)(jnp.ones(2), target)).all()
    assert (
        heads.make_quantity_head(((50.0, 10.0), (4.0, 2.0))) is head
    )  # so that nothing compiles twice

"""What last layers answer, against numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax import heads
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
    again = np.asarray(head.probability(values, classes))
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
        heads.check_head("corn", ordered=False, findings=False, dataset="cats")
    heads.check_head("classes", ordered=False, findings=False, dataset="cats")

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data import splits
from medjax.errors import UserError

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


@given(counts=st.lists(st.integers(1, 4), min_size=20, max_size=60), seed=st.integers(0, 99))
def test_no_subject_is_ever_in_two_splits(counts, seed):
    subjects = [f"s{i}" for i, n in enumerate(counts) for _ in range(n)]
    labels = [i % 2 for i, n in enumerate(counts) for _ in range(n)]
    drawn = splits.assign(subjects, labels, seed=seed, shares=SHARES)
    splits.check_leaks(drawn, subjects)
    assert drawn == splits.assign(subjects, labels, seed=seed, shares=SHARES)


def test_shares_hold_in_each_class():
    subjects = [str(i) for i in range(200)]
    labels = [int(i < 40) for i in range(200)]
    drawn = splits.assign(subjects, labels, seed=0, shares=SHARES)
    assert Counter(zip(drawn, labels, strict=True)) == {
        ("train", 0): 112, ("validation", 0): 24, ("test", 0): 24,
        ("train", 1): 28, ("validation", 1): 6, ("test", 1): 6}


def test_validation_is_cut_out_of_train_where_it_is_missing():
    given_ = ["train"] * 40 + ["test"] * 10
    subjects = [str(i) for i in range(50)]
    made = splits.complete(given_, subjects, [0, 1] * 25, seed=0)
    assert Counter(made) == {"train": 34, "validation": 6, "test": 10}
    assert made[40:] == given_[40:]
    kept = ["train", "validation"]
    assert splits.complete(kept, ["a", "b"], [0, 1], seed=0) == kept


def test_what_is_wrong_is_named():
    with pytest.raises(UserError, match="subject 'p7' is in the splits train and test"):
        splits.check_leaks(["train", "test"], ["p7", "p7"])
    with pytest.raises(UserError, match="no example of malignant in the split test"):
        splits.check_classes(["train", "train", "test"], [0, 1, 0], ["benign", "malignant"])
    with pytest.raises(UserError, match="line 3: unknown split 'holdout'"):
        splits.split_name("holdout", origin="line 3")
    with pytest.raises(UserError, match="no example is in the split train"):
        splits.complete(["test"], ["a"], [0], seed=0)


def test_duplicates_across_splits_are_counted():
    found = splits.duplicates(["train", "train", "validation", "test"], ["x", "x", "x", "y"])
    assert found == {("train", "validation"): 1}


def test_too_few_subjects_for_a_validation_split_are_refused():
    with pytest.raises(UserError, match="too few subjects"):
        splits.complete(["train"] * 3, ["a", "b", "c"], [0, 0, 0], seed=0)

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


def test_shares_hold_on_average_in_each_class():
    subjects = [str(i) for i in range(4000)]
    labels = [int(i < 1000) for i in range(4000)]
    drawn = splits.assign(subjects, labels, seed=0, shares=SHARES)
    counts = Counter(zip(drawn, labels, strict=True))
    for label, size in ((0, 3000), (1, 1000)):
        for name, share in SHARES.items():
            sd = (size * share * (1 - share)) ** 0.5
            assert abs(counts[name, label] - size * share) < 4 * sd


@given(count=st.integers(2, 12), seed=st.integers(0, 10_000), classes=st.integers(1, 3))
def test_one_more_subject_moves_no_other_from_training_into_test(count, seed, classes):
    def draw(count):
        names = [f"s{i}" for i in range(count)]
        return dict(zip(names, splits.complete(None, names, [0] * count, seed=seed), strict=True))

    before, after = draw(count), draw(count + 1)
    assert not any(before[s] == "train" and after[s] == "test" for s in before)


@pytest.mark.parametrize("count", range(2, 12))
def test_few_subjects_a_class_are_split_too(count):
    for seed in range(50):
        names = [f"{c}{i}" for c in "ab" for i in range(count)]
        labels = [int(name[0] == "b") for name in names]
        drawn = splits.complete(None, names, labels, seed=seed)
        wanted = {"train", "validation"} | ({"test"} if count > 2 else set())
        for c in (0, 1):
            assert {s for s, y in zip(drawn, labels, strict=True) if y == c} == wanted


def test_validation_is_cut_out_of_train_where_it_is_missing():
    given_ = ["train"] * 40 + ["test"] * 10
    subjects = [str(i) for i in range(50)]
    made = splits.complete(given_, subjects, [0, 1] * 25, seed=0)
    assert 2 <= Counter(made)["validation"] <= 14
    assert made[40:] == given_[40:]
    kept = ["train", "validation"]
    assert splits.complete(kept, ["a", "b"], [0, 1], seed=0) == kept


def test_what_is_wrong_is_named():
    with pytest.raises(UserError, match=r"subject 'p7' is in the splits train and test \(a; b\)"):
        splits.check_leaks(["train", "test"], ["p7", "p7"], origins=["a", "b"])
    with pytest.raises(UserError, match="no example of malignant in the split train"):
        splits.check_classes(["train", "train", "test"], [0, 0, 1], ["benign", "malignant"])
    with pytest.raises(UserError, match="line 3: unknown split 'holdout'"):
        splits.split_name("holdout", origin="line 3")
    with pytest.raises(UserError, match="no example is in the split train"):
        splits.complete(["test"], ["a"], [0], seed=0)


def test_an_empty_class_in_validation_or_test_is_a_note():
    notes = splits.check_classes(
        ["train", "train", "test", "validation"], [0, 1, 0, 1], ["benign", "malignant"]
    )
    assert [n.split(":")[0] for n in notes] == [
        "no example of benign in the split validation",
        "no example of malignant in the split test",
    ]


def test_duplicates_across_splits_are_counted():
    found = splits.duplicates(["train", "train", "validation", "test"], ["x", "x", "x", "y"])
    assert found == {("train", "validation"): 1}


def test_too_few_subjects_for_a_validation_split_are_refused():
    with pytest.raises(UserError, match="too few subjects"):
        splits.complete(["train"] * 3, ["a", "a", "a"], [0, 0, 0], seed=0)

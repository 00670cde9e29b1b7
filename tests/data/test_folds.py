"""Folds of a set by subject."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medjax.data.dataset import Dataset
from medjax.data.folds import pool_of, split_folds
from medjax.errors import UserError


def make(subjects, labels, **options):
    pixels = np.arange(len(subjects), dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    return Dataset.from_arrays(pixels, labels, subjects=subjects, **options)


@given(count=st.integers(3, 6), seed=st.integers(0, 5), images=st.integers(1, 3))
def test_every_subject_is_tested_once_and_never_trained_on_then(count, seed, images):
    subjects = [s for s in range(18) for _ in range(images)]
    data = make(subjects, [s % 2 for s in subjects])
    tested = []
    for fold in range(count):
        found = split_folds(data, count=count, fold=fold, seed=seed)
        parts = {name: set(split.subject_id) for name, split in found.splits.items()}
        assert not parts["test"] & (parts["train"] | parts["validation"])
        assert not parts["train"] & parts["validation"]
        assert set.union(*parts.values()) == {str(s) for s in range(18)}
        tested += sorted(parts["test"])
        assert f"fold {fold} of {count}" in found.notes[-1]
    assert sorted(tested) == sorted(str(s) for s in range(18))


def test_each_fold_has_its_share_of_a_rare_class():
    subjects = list(range(40))
    data = make(subjects, [int(s < 10) for s in subjects])
    shares = [
        int(split_folds(data, count=5, fold=f, seed=0).splits["test"]["label"].sum())
        for f in range(5)
    ]
    assert shares == [2] * 5


def test_an_official_test_split_stays_out():
    subjects = list(range(30))
    split = ["train"] * 20 + ["validation"] * 4 + ["test"] * 6
    data = make(subjects, [s % 2 for s in subjects], split=split)
    assert len(pool_of(data)) == 24
    found = split_folds(data, count=3, fold=1, seed=0)
    tested = {int(s) for p in found.splits.values() for s in p.subject_id}
    assert tested == set(range(24))
    assert "its own test split stays out" in found.notes[-1]


def test_images_stay_with_their_cases():
    data = make(list(range(20)), [0, 1] * 10)
    found = split_folds(data, count=4, fold=2, seed=1)
    for split in found.splits.values():
        for i, case in enumerate(split.case_id):
            assert split.read(i)[0, 0, 0] == int(case)


def test_the_digest_tells_folds_apart():
    data = make(list(range(20)), [0, 1] * 10)
    digests = {split_folds(data, count=4, fold=f, seed=s).digest for f in range(4) for s in (0, 1)}
    assert len(digests) == 8


def test_too_few_subjects():
    data = make([0, 1, 2, 3], [0, 1, 0, 1], split=["train", "train", "validation", "validation"])
    with pytest.raises(UserError, match="`folds=5`: only 4 subjects"):
        split_folds(data, count=5, fold=0, seed=0)


def test_folds_do_not_follow_the_names_of_subjects_which_are_hashed():
    case_ids = [f"c{i}" for i in range(12)]
    some, other = (
        make([f"{(7 * i + mark) % 12}" for i in range(12)], [0, 1] * 6, case_ids=case_ids)
        for mark in (0, 5)
    )
    for fold in range(3):
        first, second = (split_folds(d, count=3, fold=fold, seed=1) for d in (some, other))
        assert {*first.splits["test"].case_id} == {*second.splits["test"].case_id}

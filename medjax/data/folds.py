"""Folds of a set by subject, for cross-validation."""

import dataclasses
import hashlib
import json
from collections import defaultdict

import numpy as np

from medjax.data.dataset import Dataset, Split
from medjax.data.splits import place_of
from medjax.errors import UserError


def split_folds(dataset: Dataset, *, count: int, fold: int, seed: int) -> Dataset:
    """The set as a fold of `count` has it: it is test, the next is validation, the rest train.

    Folds are of the subjects of train and validation, and of test too where medjax has drawn the
    splits; an official test split stays out. Of classes each fold has its share of subjects.

    Args:
      seed: draws the folds.

    Raises:
      UserError: if a fold would have no subject.
    """
    pool = pool_of(dataset)
    number = number_folds(pool, count=count, seed=seed)
    if len(set(number)) < count:
        raise UserError(
            f"`folds={count}`: only {len(set(pool.subject_id))} subjects; give fewer folds"
        )
    validation = (fold + 1) % count
    roles = {
        "train": [i for i, n in enumerate(number) if n not in (fold, validation)],
        "validation": [i for i, n in enumerate(number) if n == validation],
        "test": [i for i, n in enumerate(number) if n == fold],
    }
    held = [[pool.case_id[i] for i in roles[name]] for name in ("validation", "test")]
    mark = json.dumps([dataset.digest, "fold", count, fold, seed, *held])
    left_out = "" if dataset.splits_drawn else "; its own test split stays out"
    note = f"fold {fold} of {count}, of {len(set(pool.subject_id))} subjects{left_out}"
    return dataclasses.replace(
        dataset,
        splits={name: pool.only(rows) for name, rows in roles.items()},
        digest=hashlib.sha1(mark.encode()).hexdigest(),
        notes=(*dataset.notes, note),
        pool=pool,
    )


def pool_of(dataset: Dataset) -> Split:
    """All cases that folds are made of."""
    names = [n for n in dataset.splits if n != "test" or dataset.splits_drawn]
    return Split.concatenate([dataset.splits[n] for n in names])


def number_folds(pool: Split, *, count: int, seed: int) -> list[int]:
    """The fold of each case; a subject counts for its first class.

    Drawn by the first case of each: the names of subjects are another hash on each machine.
    """
    labels = pool.targets.get("label", np.zeros(len(pool), int))
    members: dict[int, list[str]] = defaultdict(list)
    first: dict[str, str] = {}
    for subject, case, label in zip(pool.subject_id, pool.case_id, labels, strict=True):
        if subject not in first:
            members[int(label)].append(subject)
        first[subject] = min(case, first.get(subject, case))
    ranked = [
        subject
        for label in sorted(members)
        for subject in sorted(members[label], key=lambda s: (place_of(seed, first[s]), first[s]))
    ]
    fold_of = {subject: rank % count for rank, subject in enumerate(ranked)}
    return [fold_of[subject] for subject in pool.subject_id]

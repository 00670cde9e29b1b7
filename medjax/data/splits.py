"""Train, validation and test, always by subject."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medjax.errors import UserError

SPLITS = ("train", "validation", "test")
_NAMES = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "dev": "validation", "test": "test", "testing": "test",
}


def split_name(name: str, *, origin: str) -> str:
    """`name` as train, validation or test; raises UserError if it means none of them."""
    if name.strip().lower() not in _NAMES:
        raise UserError(f"{origin}: unknown split {name!r}; known are {', '.join(_NAMES)}")
    return _NAMES[name.strip().lower()]


def is_split_name(name: str) -> bool:
    return name.lower() in _NAMES


def assign(subjects: Sequence[str], labels: Sequence[int], *, seed: int,
           shares: Mapping[str, float]) -> list[str]:
    """Gives each example a split so that a subject is in one only, classes in proportion.

    Args:
      subjects: the subject of each example.
      labels: the class of each example; a subject counts for its most frequent one.
      seed: another seed, another draw; the same subjects and labels always give the same.
      shares: split names and their shares, which add up to one.
    """
    seen: dict[str, Counter] = defaultdict(Counter)
    for subject, label in zip(subjects, labels, strict=True):
        seen[subject][label] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for subject, counts in seen.items():
        by_class[counts.most_common(1)[0][0]].append(subject)
    chosen = {}
    for members in by_class.values():
        members.sort(key=lambda s: hashlib.sha1(f"{seed}/{s}".encode()).digest())
        for i, subject in enumerate(members):
            chosen[subject] = _at((i + 0.5) / len(members), shares)
    return [chosen[s] for s in subjects]


def _at(place: float, shares: Mapping[str, float]) -> str:
    """The split in which `place`, between 0 and 1, falls."""
    for name, share in shares.items():
        place -= share
        if place < 0:
            return name
    return name


def complete(splits: Sequence[str] | None, subjects: Sequence[str], labels: Sequence[int], *,
             seed: int) -> list[str]:
    """The splits with what is missing drawn: all three, or validation out of train.

    A set that has validation but no test is left as it is; its reports are on validation.
    """
    if splits is None:
        shares = {"train": 0.7, "validation": 0.15, "test": 0.15}
        return _with_validation(assign(subjects, labels, seed=seed, shares=shares))
    out = list(splits)
    if "train" not in out:
        raise UserError("no example is in the split train; name a split column that has it")
    if "validation" not in out:
        rows = [i for i, s in enumerate(out) if s == "train"]
        drawn = assign([subjects[i] for i in rows], [labels[i] for i in rows], seed=seed,
                       shares={"train": 0.85, "validation": 0.15})
        for i, name in zip(rows, drawn, strict=True):
            out[i] = name
    return _with_validation(out)


def _with_validation(splits: list[str]) -> list[str]:
    if "validation" not in splits:
        raise UserError("too few subjects to draw a validation split; add some, or name splits")
    return splits


def by_subject(cases: Sequence[Any], *, seed: int) -> dict[str, list[Any]]:
    """The cases of each split; each has a `subject`, an `origin`, and a `split` or None.

    Raises:
      UserError: if some have a split and others none, or a subject is in two.
    """
    subjects = [case.subject for case in cases]
    given = [case.split for case in cases if case.split]
    if 0 < len(given) < len(cases):
        missing = next(case for case in cases if not case.split)
        raise UserError(f"{missing.origin}: has no split where others have; give all or none")
    chosen = complete(given or None, subjects, [0] * len(cases), seed=seed)
    check_leaks(chosen, subjects)
    return {name: [c for c, s in zip(cases, chosen, strict=True) if s == name]
            for name in SPLITS if name in chosen}


def check_leaks(splits: Iterable[str], subjects: Iterable[str]) -> None:
    """Raises UserError if a subject is in two splits."""
    first: dict[str, str] = {}
    for split, subject in zip(splits, subjects, strict=True):
        if first.setdefault(subject, split) != split:
            raise UserError(f"subject {subject!r} is in the splits {first[subject]} and {split}; "
                            "a subject must be in one only")


def check_classes(splits: Iterable[str], labels: Iterable[int], classes: Sequence[str]) -> None:
    """Raises UserError if a class has no example in a split."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for split, label in zip(splits, labels, strict=True):
        counts[split][label] += 1
    for split, found in counts.items():
        missing = [c for i, c in enumerate(classes) if not found[i]]
        if missing:
            raise UserError(f"no example of {', '.join(missing)} in the split {split}; "
                            "remove the class, add examples, or split anew")


def duplicates(splits: Iterable[str], digests: Iterable[str]) -> dict[tuple[str, str], int]:
    """How many images of one split stand again, byte for byte, in another."""
    where: dict[str, Counter] = defaultdict(Counter)
    for split, digest in zip(splits, digests, strict=True):
        where[digest][split] += 1
    found: Counter = Counter()
    for counts in where.values():
        names = [s for s in SPLITS if counts[s]]
        found.update({(a, b): counts[b] for i, a in enumerate(names) for b in names[i + 1:]})
    return dict(found)

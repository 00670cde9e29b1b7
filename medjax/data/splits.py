"""Train, validation and test, always by subject."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from medjax.data import walk
from medjax.data.info import UNLABELLED
from medjax.errors import UserError

SPLITS = ("train", "validation", "test")
_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "gallery": "train",  # of retrieval: what is searched, and by what
    "query": "test",
}


def split_name(name: str, *, origin: str) -> str:
    """`name` as train, validation or test; raises UserError if it means none of them."""
    if name.strip().lower() not in _NAMES:
        raise UserError(f"{origin}: unknown split {name!r}; known are {', '.join(_NAMES)}")
    return _NAMES[name.strip().lower()]


def is_split_name(name: str) -> bool:
    return name.lower() in _NAMES


def assign(
    subjects: Sequence[str], labels: Sequence[int], *, seed: int, shares: Mapping[str, float]
) -> list[str]:
    """Gives each example a split so that a subject is in one only, each class in all of them.

    Where a subject falls follows from its name, the seed and the shares, so that one more subject
    moves no other from training into test. Shares hold on average; in each class every split but
    the last ones has at least one subject where there are enough.

    Args:
      subjects: the subject of each example.
      labels: the class of each example; a subject counts for its most frequent one.
      seed: another seed, another draw; the same subjects and labels always give the same.
      shares: split names and their shares, which add up to one; the first comes first where
        subjects are too few for all.
    """
    by_split: dict[str, Counter] = defaultdict(Counter)
    for subject, label in zip(subjects, labels, strict=True):
        by_split[subject][label] += 1
    by_class: dict[int, list[str]] = defaultdict(list)
    for subject, counts in by_split.items():
        by_class[min(counts, key=lambda label: (-counts[label], label))].append(subject)
    chosen: dict[str, str] = {}
    for members in by_class.values():
        chosen |= _draw({s: place_of(seed, s) for s in members}, shares)
    return [chosen[s] for s in subjects]


def place_of(seed: int, subject: str) -> float:
    """A number between 0 and 1 that only the name and the seed decide."""
    return int.from_bytes(hashlib.sha1(f"{seed}/{subject}".encode()).digest()[:8]) / 2**64


def _draw(place: Mapping[str, float], shares: Mapping[str, float]) -> dict[str, str]:
    """The split of each subject of a class.

    From the lowest places on, each split takes those within its share, or the lowest one that is
    left, but leaves one for each split behind it. One more subject can only push others up, out of
    the last split, never into it from the first.
    """
    left, chosen, bound = sorted(place, key=lambda s: (place[s], s)), {}, 0.0
    names = list(shares)[::-1]
    for behind, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
        bound += shares[name]
        within = len(left) if not behind else max(sum(place[s] < bound for s in left), 1)
        for subject in left[: max(min(within, len(left) - behind), 0)]:
            chosen[subject] = name
        left = [s for s in left if s not in chosen]
    return chosen


def complete(
    splits: Sequence[str] | None, subjects: Sequence[str], labels: Sequence[int], *, seed: int
) -> list[str]:
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
        drawn = assign(
            [subjects[i] for i in rows],
            [labels[i] for i in rows],
            seed=seed,
            shares={"train": 0.85, "validation": 0.15},
        )
        for i, name in zip(rows, drawn, strict=True):
            out[i] = name
    return _with_validation(out)


def _with_validation(splits: list[str]) -> list[str]:
    if "validation" not in splits:
        raise UserError("too few subjects to draw a validation split; add some, or name splits")
    return splits


def by_subject(cases: Sequence[Any], subjects: Any, *, seed: int) -> dict[str, list[Any]]:
    """The cases of each split, with their subjects as others may see them.

    Args:
      cases: each has a `subject`, an `origin`, and a `split` or None.
      subjects: `subjects.Subjects` of the cases.

    Raises:
      UserError: if some have a split and others none, or a subject is in two.
    """
    given = check_all_or_none(cases)
    chosen = complete(given or None, subjects.ids, [0] * len(cases), seed=seed)
    check_leaks(chosen, subjects.shown, origins=[case.origin for case in cases])
    shown = [c._replace(subject=who) for c, who in zip(cases, subjects.shown, strict=True)]
    return {
        name: [c for c, s in zip(shown, chosen, strict=True) if s == name]
        for name in SPLITS
        if name in chosen
    }


def check_all_or_none(cases: Sequence[Any]) -> list[str]:
    """The splits that cases have; raises UserError if some have one and others none."""
    given = [case.split for case in cases if case.split]
    if 0 < len(given) < len(cases):
        missing = next(case for case in cases if not case.split)
        raise UserError(f"{missing.origin}: has no split where others have; give all or none")
    return given


def check_leaks(
    splits: Iterable[str], subjects: Iterable[str], *, origins: Sequence[str] = ()
) -> None:
    """Raises UserError if a subject is in two splits; `origins` say where each example stands."""
    first: dict[str, tuple[str, int]] = {}
    for number, (split, subject) in enumerate(zip(splits, subjects, strict=True)):
        before, where = first.setdefault(subject, (split, number))
        if before != split:
            places = f" ({origins[where]}; {origins[number]})" if origins else ""
            raise UserError(
                f"subject {subject!r} is in the splits {before} and {split}{places}; "
                "a subject must be in one only"
            )


def check_classes(
    splits: Iterable[str], labels: Iterable[int], classes: Sequence[str]
) -> list[str]:
    """Notes of classes that have no example in validation or test.

    Raises:
      UserError: if a class has none in train, or there is one class alone.
    """
    if len(classes) == 1 and classes[0] != UNLABELLED:
        raise UserError(
            f"all images are of one class, {classes[0]}: there is nothing to tell apart"
        )
    counts: dict[str, Counter] = defaultdict(Counter)
    for split, label in zip(splits, labels, strict=True):
        counts[split][label] += 1
    notes = []
    for split in (name for name in SPLITS if name in counts):
        missing = ", ".join(c for i, c in enumerate(classes) if not counts[split][i])
        if missing and split == "train":
            raise UserError(
                f"no example of {missing} in the split train; remove the class, add "
                "examples, or split anew"
            )
        if missing:
            notes.append(
                f"no example of {missing} in the split {split}: metrics that need one "
                "are undefined there"
            )
    return notes


def note_duplicates(splits: Iterable[str], digests: Iterable[str]) -> list[str]:
    """Notes of images that stand in two splits."""
    return [
        f"{walk.counted(n, 'image')} of {b} also in {a}, pixel for pixel"
        for (a, b), n in duplicates(splits, digests).items()
    ]


def duplicates(splits: Iterable[str], digests: Iterable[str]) -> dict[tuple[str, str], int]:
    """How many images of one split stand again, byte for byte, in another."""
    where: dict[str, Counter] = defaultdict(Counter)
    for split, digest in zip(splits, digests, strict=True):
        where[digest][split] += 1
    repeats: Counter = Counter()
    for counts in where.values():
        names = [s for s in SPLITS if counts[s]]
        repeats.update({(a, b): counts[b] for i, a in enumerate(names) for b in names[i + 1 :]})
    return dict(repeats)

"""The error score of IRMA codes, by which retrieval of radiographs is compared.

Of the ImageCLEF medical annotation task (Deselaers et al. 2008): a code TTTT-DDD-AAA-BBB says of an
image its technique, direction, anatomy and biological system, each more finely from place to place,
and early mistakes weigh more.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

_CODE = re.compile(r"[0-9a-zC]{4}(-[0-9a-zC]{3}){3}")
_UNKNOWN, _UNSPECIFIED, _ANY = "*", "0", "C"
_AXES = 4


def are_codes(names: Iterable[str]) -> bool:
    """Whether all names are IRMA codes."""
    return all(_CODE.fullmatch(name) for name in names)


def count_branches(axis: str, known: Iterable[str]) -> list[int]:
    """How many characters are possible at each place of an axis, given what stands before it.

    Args:
      known: the same axis of all codes that there are, this one among them.
    """
    others = {axis, *known}
    return [
        len({code[place] for code in others if code[:place] == axis[:place]})
        for place in range(len(axis))
    ]


def score_axis(truth: str, answer: str, branches: Sequence[int]) -> float:
    """The error of one axis, 0 to 1.

    A place weighs 1 / (its number * its branches). From the first wrong one on all count, from the
    first `*` ("not known") on all count half; `*` for an unspecified `0` is right. A truth that
    begins with `C` ("does not matter") has no error.
    """
    if truth.startswith(_ANY):
        return 0.0
    weight = 1 / (np.arange(1, len(truth) + 1) * np.array(branches))
    state, total = 0.0, 0.0
    for true, given, value in zip(truth, answer, weight, strict=True):
        if not state and given != true and (given, true) != (_UNKNOWN, _UNSPECIFIED):
            state = 0.5 if given == _UNKNOWN else 1.0
        total += state * value
    return float(total / weight.sum())


def score_codes(truth: Sequence[str], answer: Sequence[str], known: Sequence[str]) -> float:
    """The error score of a set: the sum over images of the mean over axes.

    Args:
      truth, answer: codes of the images; known: all codes that there are.
    """
    axes = [[code.split("-")[axis] for code in known] for axis in range(_AXES)]

    def score(true: str, given: str) -> float:
        parts = zip(true.split("-"), given.split("-"), axes, strict=True)
        return sum(score_axis(t, g, count_branches(t, codes)) for t, g, codes in parts) / _AXES

    return float(sum(score(t, g) for t, g in zip(truth, answer, strict=True)))

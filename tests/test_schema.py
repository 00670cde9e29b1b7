"""JSON read as dataclasses."""

import dataclasses

import pytest

from medjax import schema
from medjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    label: str = "none"


@dataclasses.dataclass(frozen=True)
class Outer:
    share: float
    on: bool
    inner: Inner
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[str, int], ...] = ()
    maybe: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError("share is more than 1")


GOOD = {
    "share": 1,
    "on": True,
    "inner": {"size": 3},
    "names": ["a", "b"],
    "pairs": [["a", 1]],
    "maybe": None,
}


def test_what_it_should_be():
    assert schema.read(Outer, GOOD, where="f") == Outer(
        1.0, True, Inner(3), ("a", "b"), (("a", 1),), None
    )
    assert schema.read(Outer, {**GOOD, "maybe": [1, 2.5]}, where="f").maybe == (1.0, 2.5)
    assert isinstance(schema.read(Outer, GOOD, where="f").share, float)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share": "1"}, "f: share: '1' is no float"),
        ({"share": True}, "share: True is no float"),
        ({"share": float("inf")}, "is no float"),
        ({"share": 2}, "f: share is more than 1"),
        ({"on": 1}, "on: 1 is no bool"),
        ({"inner": {}}, "f: inner: the field 'size' is missing"),
        ({"inner": {"size": 1.5}}, "size: 1.5 is no int"),
        ({"inner": [1]}, "no object with"),
        ({"inner": {"size": True}}, "is no int"),
        ({"inner": {"size": 10**30}}, "is no int"),
        ({"names": "ab"}, "is no list"),
        ({"names": ["a", 1]}, r"names\[1\]: 1 is no str"),
        ({"pairs": [["a"]]}, r"pairs\[0\]: has 1 entries where 2 are needed"),
        ({"maybe": ["x"]}, r"maybe\[0\]"),
        ({"other": 1}, "unknown field 'other'"),
        ({"names": ["x" * 200_000]}, r"names\[0\]"),
        ({"names": ["a\x1b[2J"]}, "control characters"),
    ],
)
def test_what_it_should_not_be(change, words):
    with pytest.raises(UserError, match=words) as e:
        schema.read(Outer, {**GOOD, **change}, where="f")
    assert len(str(e.value)) < 200

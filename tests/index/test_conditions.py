"""Conditions on metadata."""

import pytest

from medjax.errors import UserError
from medjax.index.conditions import Condition, parse_conditions


def test_texts_and_numbers():
    assert parse_conditions(["sex=F", "age >= 60", "site!=back", "t<-1.5", "x=1e3"]) == [
        Condition("sex", "=", "F"),
        Condition("age", ">=", 60.0),
        Condition("site", "!=", "back"),
        Condition("t", "<", -1.5),
        Condition("x", "=", 1000.0),
    ]
    kept = parse_conditions(["subject_id!=12", "case_id=7", "ward=007", "code=12E4", "side=INF"])
    assert [c.value for c in kept] == ["12", "7", "007", "12E4", "INF"]
    # A float would keep 15 digits of it, and so find others.
    (number,) = parse_conditions(["accession=123456789012345678"])
    assert number.value == "123456789012345678"


@pytest.mark.parametrize("text", ["", "sex", "=F", "age>=", "age>=old", "a==b=", "sex<F"])
def test_what_is_none_is_refused(text):
    with pytest.raises(UserError, match=r"`where=.*"):
        parse_conditions([text])

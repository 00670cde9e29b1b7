"""The official fixtures of the scorer: truth 625 on the last axis, a quarter of the whole."""

import pytest

from medjax.outputs.embeddings import irma

BRANCHES = (12, 2, 4)


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("625", 0.0),
        ("62*", 0.025),
        ("621", 0.05),
        ("62C", 0.05),
        ("615", 0.2),
        ("6*5", 0.1),
        ("6**", 0.1),
        ("***", 0.125),
        ("125", 0.25),
    ],
)
def test_the_official_fixtures(answer, expected):
    assert irma.score_axis("625", answer, BRANCHES) / 4 == pytest.approx(expected)


def test_what_is_unspecified_or_does_not_matter_is_no_error():
    assert irma.score_axis("600", "6**", (12, 2, 4)) == 0
    assert irma.score_axis("CCC", "625", (12, 2, 4)) == 0


def test_branches_are_the_characters_that_may_follow():
    """After nothing 6 or 7; after 6 one of 1, 2; after 62 one of 0, 5, 9."""
    assert irma.count_branches("625", ["620", "629", "611", "700"]) == [2, 2, 3]


def test_a_set_is_the_sum_over_images():
    """All axes are right but the last one: wholly wrong in the first image, not in the second."""
    codes = ["1121-120-413-700", "1121-120-413-600"]
    assert irma.score_codes(codes, codes, codes) == 0
    assert irma.score_codes(codes, codes[:1] * 2, codes) == pytest.approx(0.25)
    assert irma.are_codes(codes) and not irma.are_codes(["pneumonia"])

"""Nearest vectors by faiss against the exact search of `ops.neighbours`."""

import jax
import numpy as np
import pytest

from medjax.index.store import pack_vector, unpack_vectors
from medjax.index.vectors import WITH_GRAPH, VectorSearch
from medjax.ops.neighbours import DISTANCES, pack_bits, search_neighbours


def make_search(values, *, distance, approximate=False):
    """A search over values `[n, feature]`, whose cases are numbered from 1, and its rows."""
    rows = unpack_vectors([pack_vector(v, distance=distance) for v in values], distance=distance)
    search = VectorSearch(distance, approximate=approximate)
    search.add(np.arange(1, len(rows) + 1), rows)
    return search, rows


@pytest.fixture
def values(rng):
    return rng.random((60, 12)).astype(np.float32)


@pytest.mark.parametrize("distance", DISTANCES)
def test_neighbours_and_distances_are_those_of_the_compiled_search(distance, values):
    given = jax.vmap(pack_bits)(values > 0.5) if distance == "hamming" else values
    right = search_neighbours(given[:5], given, k=4, distance=distance)
    search, rows = make_search(values, distance=distance)
    for i in range(5):
        found = search.search(rows[i], k=4)
        assert found[0][0] == i + 1
        np.testing.assert_allclose([d for _, d in found], right.distance[i], atol=2e-3)
        if distance != "hamming":  # bits have ties
            assert [n - 1 for n, _ in found] == right.row[i].tolist()


@pytest.mark.parametrize("distance", DISTANCES)
def test_only_the_wanted_cases_are_searched(distance, values):
    search, rows = make_search(values, distance=distance)
    found = search.search(rows[0], k=9, among=np.array([3, 60, 7, 999]))
    assert {number for number, _ in found} == {3, 7, 60}
    assert [d for _, d in found] == sorted(d for _, d in found)
    assert search.search(rows[0], k=9, among=np.array([], np.int64)) == []


@pytest.mark.parametrize("distance", WITH_GRAPH)
def test_a_graph_finds_nearly_all_and_says_how_many(distance, rng):
    values = rng.random((400, 16)).astype(np.float32)
    search, rows = make_search(values, distance=distance, approximate=True)
    exact, _ = make_search(values, distance=distance)
    k, hits = 5, 0
    for row in rows[:40]:
        far = exact.search(row, k=k)[-1][1]  # bits have ties: what is as near counts
        hits += sum(d <= far for _, d in search.search(row, k=k))
    assert hits / (40 * k) > 0.9
    assert 0.5 < search.measure_recall(k=k) <= 1


def test_vectors_that_are_added_later_are_found(values):
    search, _ = make_search(values[:10], distance="euclidean")
    (more,) = unpack_vectors([pack_vector(values[30], distance="euclidean")], distance="euclidean")
    search.add(np.array([77]), more[None])
    assert search.search(more, k=1) == [(77, 0.0)]
    assert len(search) == 11


def test_of_nothing_there_is_no_recall():
    assert np.isnan(VectorSearch("euclidean", approximate=True).measure_recall(k=5))


def test_an_empty_search_finds_nothing():
    assert VectorSearch("cosine").search(np.ones(3), k=5) == []


def test_of_answers_as_near_as_one_another_any_is_right(rng):
    """Codes of a byte have many at one distance."""
    values = jax.vmap(pack_bits)(rng.integers(0, 2, (500, 8)).astype(bool))
    search, _ = make_search(values, distance="hamming", approximate=True)
    assert search.measure_recall(k=5) > 0.95

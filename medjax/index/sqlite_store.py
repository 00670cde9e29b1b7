"""The index of one researcher: a folder with a table of cases, whose vectors are held in memory."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax import lock
from medjax.errors import UserError
from medjax.index.conditions import Condition
from medjax.index.store import CaseStore, unpack_vectors
from medjax.index.vectors import VectorSearch

FILE, _LOCK = "cases.sqlite", ".lock"
_WAIT_SECONDS = 30.0  # while another process writes
_BLOCK = 50_000  # vectors that are read at a time
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE cases (
  number INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, image_sha256 TEXT NOT NULL,
  subject_id TEXT NOT NULL, facts TEXT NOT NULL, vector BLOB NOT NULL, picture BLOB NOT NULL);
CREATE INDEX cases_image ON cases (image_sha256);
"""
_SCHEMA = {"table about", "table cases", "index cases_image"}


class SqliteStore(CaseStore):
    """Tables in a file of SQLite; the search is that of `VectorSearch`."""

    mark = "?"
    errors = (sqlite3.Error,)

    def __init__(self, folder: Path, *, create: bool = False):
        """Opens the index in `folder`; raises UserError where there is none."""
        path = folder / FILE
        if not create and not _is_regular(path):
            raise UserError(
                f"{folder}: no index of medjax: it has no {FILE}; see medjax index make"
            )
        mode = "rwc" if create else "rw"
        self._folder = folder
        self._search: VectorSearch | None = None
        address = f"{path.absolute().as_uri()}?mode={mode}"
        try:
            connection = sqlite3.connect(
                address,
                uri=True,
                timeout=_WAIT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            # What a stranger's file could bring beside tables is not run.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as e:
            raise UserError(f"{path}: no readable index ({e})") from None
        super().__init__(connection, str(folder))
        if create:
            connection.executescript(_TABLES)
        self._check_schema()

    def _check_schema(self) -> None:
        """Raises UserError for views, triggers and tables that no index has."""
        statement = "SELECT type || ' ' || name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        odd = {name for (name,) in self.run(statement)} ^ _SCHEMA
        if odd:
            raise UserError(f"{self.name}: {FILE} is no index of medjax ({min(odd)})")

    def prepare_search(self, distance: str, *, approximate: bool) -> None:
        super().prepare_search(distance, approximate=approximate)
        self._search = VectorSearch(distance, approximate=approximate)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        with lock.hold(self._folder / _LOCK, wait=False) as held:
            if not held:
                raise UserError(f"{self.name}: another process adds to it; wait until it has ended")
            yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(UserError):
                self.run("ROLLBACK")
            raise

    def failure(self, error: Exception) -> UserError:
        if "malformed" in str(error) or "not a database" in str(error):
            return UserError(f"{self.name}: {FILE} is damaged or was cut off ({error})")
        if "no such table" in str(error):
            return UserError(f"{self.name}: {FILE} is no index of medjax ({error})")
        return super().failure(error)

    def search(
        self, vector: bytes, *, k: int, conditions: Sequence[Condition]
    ) -> list[tuple[int, float]]:
        vectors, among = self.load_vectors(), None
        if conditions:
            wanted, values = self.where_sql(conditions)
            rows = self.run(f"SELECT number FROM cases WHERE {wanted}", values)
            among = np.array([number for (number,) in rows], np.int64)
        (query,) = unpack_vectors([vector], distance=self.distance)
        return vectors.search(query, k=k, among=among)

    def load_vectors(self) -> VectorSearch:
        """All vectors; those that were added since are read."""
        assert self._search is not None
        while rows := self.run(
            "SELECT number, vector FROM cases WHERE number > %s ORDER BY number LIMIT %s",
            [int(self._search.numbers[-1]) if len(self._search) else 0, _BLOCK],
        ):
            numbers = np.array([number for number, _ in rows], np.int64)
            vectors = unpack_vectors([v for _, v in rows], distance=self.distance)
            self._search.add(numbers, vectors)
        return self._search

    def condition_sql(self, condition: Condition) -> tuple[str, list[Any]]:
        relation, value = condition.relation, condition.value
        kinds = "'text'" if isinstance(value, str) else "'integer', 'real'"
        path = self.path_of(condition.name)
        text = f"(json_type(facts, %s) IN ({kinds}) AND json_extract(facts, %s) {relation} %s)"
        if relation == "!=":  # also of another type
            text = f"(json_type(facts, %s) NOT IN ({kinds}) OR json_extract(facts, %s) != %s)"
        return text, [path, path, value]

    def lacking_sql(self) -> str:
        return "json_type(facts, %s) IS NULL"

    def path_of(self, name: str) -> str:
        return f'$."{name}"'

    def fact_counts_sql(self) -> str:
        return (
            "SELECT f.key, f.value, f.type != 'text', count(*) FROM cases, json_each(facts) AS f "
            "GROUP BY 1, 2, 3"
        )


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False

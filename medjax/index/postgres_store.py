"""The index of a team: a schema of a PostgreSQL database with pgvector, whose engine searches."""

import contextlib
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.errors import UserError, first_line
from medjax.index.conditions import Condition
from medjax.index.store import BITS, CaseStore, unpack_vectors


class VectorType(NamedTuple):
    """How pgvector compares two vectors, and the operator class of a graph of them."""

    operator: str
    graph_class: str


OPERATORS = {
    "cosine": VectorType("<=>", "vector_cosine_ops"),
    "euclidean": VectorType("<->", "vector_l2_ops"),
    "manhattan": VectorType("<+>", "vector_l1_ops"),
    BITS: VectorType("<~>", "bit_hamming_ops"),
}
_MOST_NUMBERS = {False: 16_000, True: 2_000}  # of a vector; with a graph
_TIMEOUT_SECONDS = 10
_CANDIDATES = 40  # that a graph gives, as pgvector sets it


class PostgresStore(CaseStore):
    """Tables in a schema with the name of the index."""

    for_update = "FOR UPDATE"

    def __init__(self, address: str, name: str):
        """Connects.

        Args:
          address: as `postgresql://USER@HOST/DATABASE`; the password may stand in PGPASSWORD.
          name: of the index, the schema: small letters, digits and underscores.

        Raises:
          UserError: if the store cannot be reached, or the name cannot be one.
        """
        if not name.isidentifier() or name != name.lower() or not name.isascii():
            raise UserError(
                f"{name}: an index in a database is named by small letters, digits and _, without "
                "folders"
            )
        self._driver = _import_psycopg()
        self.errors = (self._driver.Error,)
        try:
            connection = self._driver.connect(
                address,
                autocommit=True,
                connect_timeout=_TIMEOUT_SECONDS,
                options=f"-c search_path={name},public",
            )
        except self._driver.Error as e:
            raise UserError(f"`store`: the database cannot be reached: {first_line(e)}") from None
        super().__init__(connection, name)

    def create_tables(self, *, distance: str, width: int, approximate: bool) -> None:
        """Makes the schema, of vectors of `width` bytes; in the transaction of the caller."""
        with self.transaction():
            size = width * 8 if distance == BITS else width // 4
            check_distance(distance, size, approximate=approximate)
            if self.run("SELECT 1 FROM pg_namespace WHERE nspname = %s", [self.name]):
                raise UserError(f"{self.name}: is in the database already; choose another name")
            self._add_extension()
            kind = f"{'bit' if distance == BITS else 'vector'}({size})"
            self.run(f"CREATE SCHEMA {self.name}")
            self.run("CREATE TABLE about (name TEXT PRIMARY KEY, content BYTEA NOT NULL)")
            self.run(
                "CREATE TABLE cases (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
                "case_id TEXT NOT NULL UNIQUE, image_sha256 TEXT NOT NULL, subject_id TEXT NOT "
                f"NULL, facts JSONB NOT NULL, vector {kind} NOT NULL, picture BYTEA NOT NULL)"
            )
            self.run("CREATE INDEX ON cases (image_sha256)")
            if approximate:
                graph_class = OPERATORS[distance].graph_class
                self.run(f"CREATE INDEX ON cases USING hnsw (vector {graph_class})")

    def _add_extension(self) -> None:
        if self.run("SELECT 1 FROM pg_extension WHERE extname = 'vector'"):
            return
        try:
            self.run("CREATE EXTENSION vector SCHEMA public")
        except UserError as e:
            raise UserError(
                f"{e}; who owns the database installs pgvector, and gives CREATE EXTENSION vector"
            ) from None

    def failure(self, error: Exception) -> UserError:
        if isinstance(error, self._driver.errors.UndefinedTable):
            return UserError(f"{self.name}: no such index in the database; see medjax index make")
        if isinstance(error, self._driver.OperationalError):
            return UserError(f"`store`: the database cannot be reached: {first_line(error)}")
        return UserError(f"{self.name}: the database refuses: {first_line(error)}")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with self.connection.transaction():  # type: ignore[attr-defined]
                yield
        except self.errors as e:
            raise self.failure(e) from None

    def search(
        self, vector: bytes, *, k: int, conditions: Sequence[Condition]
    ) -> list[tuple[int, float]]:
        wanted, values = self.where_sql(conditions)
        kind = "bit" if self.distance == BITS else "vector"
        text = self.write_vector(vector)
        with self.transaction():
            if conditions or k > _CANDIDATES:
                # A graph gives so many candidates, and conditions would apply to these alone.
                self.run("SET LOCAL enable_indexscan = off")
            rows = self.run(
                f"SELECT number, vector {OPERATORS[self.distance].operator} "
                f"%s::{kind}{f'({len(text)})' if kind == 'bit' else ''} AS far "
                f"FROM cases WHERE {wanted} ORDER BY far, number LIMIT %s",
                [text, *values, k],
            )
        return [(int(number), float(far)) for number, far in rows]

    def condition_sql(self, condition: Condition) -> tuple[str, list[Any]]:
        relation, value = condition.relation, condition.value
        path = f"$.{json.dumps(condition.name)}"
        sign = "==" if relation == "=" else relation
        if relation != "!=":
            return "facts @@ %s::jsonpath", [f"{path} {sign} {json.dumps(value)}"]
        # A value of another type is another value, too.
        equal = f"{path} == {json.dumps(value)}"
        return "(jsonb_exists(facts, %s) AND (facts @@ %s::jsonpath) IS NOT TRUE)", [
            condition.name,
            equal,
        ]

    def lacking_sql(self) -> str:
        return "NOT jsonb_exists(facts, %s)"

    def fact_counts_sql(self) -> str:
        return (
            "SELECT f.key, facts ->> f.key, jsonb_typeof(f.value) = 'number', count(*) FROM cases, "
            "jsonb_each(facts) AS f GROUP BY 1, 2, 3"
        )

    def write_vector(self, vector: bytes) -> str:
        (row,) = unpack_vectors([vector], distance=self.distance)
        if self.distance == BITS:
            return "".join(map(str, np.unpackbits(row)))
        return f"[{','.join(repr(float(v)) for v in row)}]"

    def read_vector(self, value: Any) -> bytes:
        if self.distance == BITS:
            return np.packbits(np.array(list(value), np.uint8)).tobytes()
        return np.array(json.loads(value), "<f4").tobytes()


def check_distance(distance: str, size: int, *, approximate: bool) -> None:
    """Raises UserError for vectors that pgvector does not compare."""
    if distance not in OPERATORS:
        raise UserError(f"`store`: pgvector has no distance {distance}; make a folder instead")
    most = 64_000 if distance == BITS else _MOST_NUMBERS[approximate]
    if size > most:
        raise UserError(
            f"`store`: vectors of {size:,}; pgvector takes {most:,} at most: retrieve with `size`"
        )


@functools.cache
def _import_psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise UserError("a database needs psycopg; pip install 'medjax[postgres]'") from None
    return psycopg

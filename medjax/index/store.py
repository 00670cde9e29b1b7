"""Where the cases of an index are kept: tables of a database, whichever it is."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from medjax.errors import UserError
from medjax.index.conditions import COLUMNS, Condition

BITS = "hamming"
_MODULUS = 2**256
SETTINGS, NETWORK, TOTAL = "settings", "network", "total"
Fact = str | float


class NewCase(NamedTuple):
    """A case that an index is to have.

    Attributes:
      case_id: its file, below the folder that it was added from.
      image_sha256: of the file.
      subject_id: empty where it is not known.
      facts: its metadata, without what is missing.
      vector: as `pack_vector` makes it; picture: a small PNG.
    """

    case_id: str
    image_sha256: str
    subject_id: str
    facts: Mapping[str, Fact]
    vector: bytes
    picture: bytes

    @property
    def digest(self) -> str:
        """Of all that it says."""
        facts = json.dumps(dict(self.facts), sort_keys=True)
        parts = [self.case_id, self.image_sha256, self.subject_id, facts]
        content = [part.encode(errors="surrogatepass") for part in parts]
        hashed = hashlib.sha256()
        for part in (*content, self.vector, self.picture):
            hashed.update(len(part).to_bytes(8, "little") + part)
        return hashed.hexdigest()


class SimilarCase(NamedTuple):
    """A case of an index, and how far it is from a query.

    Attributes:
      number: of the index, from 1.
      case_id, subject_id, facts: as of `NewCase`.
      distance: in the distance of the index, smaller is more alike.
    """

    number: int
    case_id: str
    subject_id: str
    facts: Mapping[str, Fact]
    distance: float


class Database(Protocol):
    """A connection to a database, after PEP 249."""

    def cursor(self) -> Any: ...
    def close(self) -> None: ...


class CaseStore:
    """The tables of an index, by statements that the databases have in common."""

    mark = "%s"  # of a value in a statement
    for_update = ""  # what keeps others from a row that is about to change
    errors: tuple[type[Exception], ...] = ()

    def __init__(self, connection: Database, name: str):
        """`name`: of the index, for messages."""
        self.connection, self.name = connection, name

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps other processes from adding, where the database does not see to it itself."""
        yield

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done in it is kept, or nothing."""
        raise NotImplementedError

    def search(
        self, vector: bytes, *, k: int, conditions: Sequence[Condition]
    ) -> list[tuple[int, float]]:
        """The numbers of the `k` nearest cases that meet the conditions, and their distances."""
        raise NotImplementedError

    def prepare_search(self, distance: str, *, approximate: bool) -> None:
        """Says how vectors are compared."""
        self.distance = distance

    def where_sql(self, conditions: Sequence[Condition]) -> tuple[str, list[Any]]:
        """All conditions as SQL, and their values."""
        texts, values = ["true"], list[Any]()
        for condition in conditions:
            if condition.name in COLUMNS:
                text, more = f"{condition.name} {condition.relation} %s", [str(condition.value)]
            else:
                text, more = self.condition_sql(condition)
            texts.append(text)
            values += more
        return " AND ".join(texts), values

    def condition_sql(self, condition: Condition) -> tuple[str, list[Any]]:
        """A condition on metadata as SQL, and its values."""
        raise NotImplementedError

    def lacking_sql(self) -> str:
        """SQL that is true of cases without a metadata of this name."""
        raise NotImplementedError

    def fact_counts_sql(self) -> str:
        """SQL of rows: name, value as text, whether it is a number, how many cases."""
        raise NotImplementedError

    def read_vector(self, value: Any) -> bytes:
        """A vector as the database returns it, as of `NewCase`."""
        return bytes(value)

    def write_vector(self, vector: bytes) -> Any:
        """A vector of `NewCase` as the database takes it."""
        return vector

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement gives; raises UserError where the store fails."""
        try:
            cursor = self.connection.cursor()
            cursor.execute(statement.replace("%s", self.mark), values)
            return list(cursor.fetchall()) if cursor.description else []
        except self.errors as e:
            raise self.failure(e) from None

    def failure(self, error: Exception) -> UserError:
        """What to tell the user of an error of the database."""
        return UserError(f"{self.name}: the index cannot be read or written ({error})")

    def read_entry(self, name: str) -> bytes:
        """An entry of the index as a whole."""
        rows = self.run("SELECT content FROM about WHERE name = %s", [name])
        if not rows:
            raise UserError(f"{self.name}: no index of medjax, or one that was cut off ({name})")
        return bytes(rows[0][0])

    def write_entry(self, name: str, content: bytes) -> None:
        """Adds an entry."""
        self.run("INSERT INTO about (name, content) VALUES (%s, %s)", [name, content])

    def count_cases(self) -> int:
        """How many cases there are."""
        return int(self.run("SELECT count(*) FROM cases")[0][0])

    def list_images(self) -> dict[str, str]:
        """The sha256 of the file of each case."""
        return dict(self.run("SELECT case_id, image_sha256 FROM cases"))  # type: ignore[arg-type]

    def find_image(self, image_sha256: str) -> list[int]:
        """The cases of a file with these contents."""
        rows = self.run("SELECT number FROM cases WHERE image_sha256 = %s", [image_sha256])
        return [int(number) for (number,) in rows]

    def add(self, cases: Sequence[NewCase]) -> int:
        """Adds cases, all or none; those that are there already, by another process, are left out.

        Returns how many are new. When it returns they are on the disk.
        """
        with self.transaction():
            statement = f"SELECT content FROM about WHERE name = %s {self.for_update}"
            total = int(bytes(self.run(statement, [TOTAL])[0][0]), 16)
            new = [case for case in cases if self._insert(case)]
            total += sum(int(case.digest, 16) for case in new)
            content = f"{total % _MODULUS:064x}".encode()
            self.run("UPDATE about SET content = %s WHERE name = %s", [content, TOTAL])
        return len(new)

    def _insert(self, case: NewCase) -> bool:
        rows = self.run(
            "INSERT INTO cases (case_id, image_sha256, subject_id, facts, vector, picture) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (case_id) DO NOTHING RETURNING number",
            [
                case.case_id,
                case.image_sha256,
                case.subject_id,
                json.dumps(dict(case.facts)),
                self.write_vector(case.vector),
                case.picture,
            ],
        )
        return bool(rows)

    def read_cases(self, hits: Sequence[tuple[int, float]]) -> list[SimilarCase]:
        """What is known of these cases, in their order."""
        statement = "SELECT case_id, subject_id, facts FROM cases WHERE number = %s"
        rows = [(hit, self.run(statement, [hit[0]])[0]) for hit in hits]
        return [
            SimilarCase(number, case_id, subject_id, read_facts(facts), distance)
            for (number, distance), (case_id, subject_id, facts) in rows
        ]

    def read_picture(self, number: int) -> bytes | None:
        """The picture of a case, a PNG; None where there is no such case."""
        rows = self.run("SELECT picture FROM cases WHERE number = %s", [number])
        return bytes(rows[0][0]) if rows else None

    def iterate_cases(self, *, block: int = 1000) -> Iterator[NewCase]:
        """All cases in their order."""
        last = 0
        while rows := self.run(
            "SELECT number, case_id, image_sha256, subject_id, facts, vector, picture FROM cases "
            "WHERE number > %s ORDER BY number LIMIT %s",
            [last, block],
        ):
            last = rows[-1][0]
            for _, case_id, digest, subject, facts, vector, picture in rows:
                yield NewCase(
                    case_id,
                    digest,
                    subject,
                    read_facts(facts),
                    self.read_vector(vector),
                    bytes(picture),
                )

    def check_total(self) -> str:
        """The sha256 of all cases; raises UserError where it is not what was written."""
        total = sum(int(case.digest, 16) for case in self.iterate_cases()) % _MODULUS
        if f"{total:064x}".encode() != self.read_entry(TOTAL):
            raise UserError(f"{self.name}: damaged: a case is not as it was added, or one is lost")
        return f"{total:064x}"

    def count_lacking(self, name: str) -> int:
        """How many cases have no metadata of this name."""
        statement = f"SELECT count(*) FROM cases WHERE {self.lacking_sql()}"
        return int(self.run(statement, [self.path_of(name)])[0][0])

    def path_of(self, name: str) -> str:
        """A name of metadata as `lacking_sql` takes it."""
        return name

    def count_facts(self) -> dict[str, dict[Fact, int]]:
        """How many cases have which metadata, by name and value."""
        counts: dict[str, dict[Fact, int]] = {}
        for name, value, is_number, n in self.run(self.fact_counts_sql()):
            counts.setdefault(name, {})[float(value) if is_number else value] = n
        return counts

    def close(self) -> None:
        """Lets go of the database."""
        self.connection.close()


def read_facts(value: Any) -> dict[str, Fact]:
    """Metadata as a database returns it; all numbers of one type."""
    facts = value if isinstance(value, Mapping) else json.loads(value)
    return {name: v if isinstance(v, str) else float(v) for name, v in facts.items()}


def pack_vector(vector: np.ndarray, *, distance: str) -> bytes:
    """A descriptor `[feature]` as bytes: numbers of four, or eight bits each, filled with zeros."""
    if distance == BITS:
        return np.packbits(np.asarray(vector) > 0.5).tobytes()
    return np.asarray(vector, "<f4").tobytes()


def unpack_vectors(vectors: Sequence[bytes], *, distance: str) -> np.ndarray:
    """The same as rows `[n, feature]` of numbers, or `[n, byte]` of bits."""
    kind = np.dtype(np.uint8 if distance == BITS else "<f4")
    width = len(vectors[0]) // kind.itemsize if vectors else 0
    return np.frombuffer(b"".join(vectors), kind).reshape(len(vectors), width)

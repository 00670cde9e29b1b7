"""Stores of made-up vectors, without a network."""

from medjax.index.sqlite_store import SqliteStore
from medjax.index.store import TOTAL, NewCase, pack_vector

FACTS = [  # of case 0, 1, ...; the last ones lack some
    {"sex": "F", "age": 61.0},
    {"sex": "M", "age": 59.0},
    {"sex": "F", "age": 40.0},
    {"sex": "M"},
    {"age": "unknown"},
    {},
]


def new_cases(vectors, *, distance, name="case", facts=FACTS):
    """Cases with these vectors, of subjects s0, s0, s1, s1, ..."""
    return [
        NewCase(
            f"{name}_{i}.png",
            f"{i:064x}",
            f"s{i // 2}",
            facts[i % len(facts)],
            pack_vector(vector, distance=distance),
            b"\x89PNG picture",
        )
        for i, vector in enumerate(vectors)
    ]


def open_sqlite(folder, *, distance="cosine", approximate=False):
    """A store without a network."""
    folder.mkdir()
    store = SqliteStore(folder, create=True)
    store.prepare_search(distance, approximate=approximate)
    store.write_entry(TOTAL, b"0" * 64)
    return store

"""Nearest vectors in memory, by faiss: exactly, or by a graph."""

from collections.abc import Callable
from typing import Any

import numpy as np

from medjax.errors import UserError
from medjax.index.store import BITS
from medjax.ops.neighbours import measure_distances

_LINKS = 32  # of each vector in the graph (Malkov and Yashunin 2018, arXiv 1603.09320)
_LOOKED_AT = 128  # candidates of a search in the graph
WITH_GRAPH = ("cosine", "euclidean", "manhattan", BITS)


class VectorSearch:
    """The vectors of an index by the numbers of their cases; grows at its end."""

    def __init__(self, distance: str, *, approximate: bool = False):
        """`distance`: one of `ops.neighbours.DISTANCES`."""
        self._distance, self._approximate = distance, approximate
        self.numbers = np.zeros(0, np.int64)
        self._index: Any = None

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Adds the vectors `[n, feature]`, of bits `[n, byte]`, of these cases."""
        rows = _prepare(vectors, self._distance)
        if self._index is None:
            self._index = _make(self._distance, rows.shape[1], approximate=self._approximate)
        self._index.add(rows)
        self.numbers = np.concatenate([self.numbers, numbers])

    def search(
        self, query: np.ndarray, *, k: int, among: np.ndarray | None = None
    ) -> list[tuple[int, float]]:
        """The numbers of the `k` nearest cases of `query` `[feature]`, and their distances.

        Args:
          among: the numbers of the cases that may be found, searched exactly; None: all.
        """
        if not len(self):
            return []
        vector = _prepare(query[None], self._distance)
        places = None if among is None else np.flatnonzero(np.isin(self.numbers, among))
        if places is not None and not len(places):
            return []
        index, numbers = self._index, self.numbers
        if places is not None:
            index = _make(self._distance, vector.shape[1], approximate=False)
            index.add(_stored(self._index, self._distance)[places])
            numbers = numbers[places]
        far, row = index.search(vector, min(k, len(numbers)))
        kept = row[0] >= 0  # a graph may find fewer
        distances = _true(far[0][kept], self._distance)
        return list(zip(numbers[row[0][kept]].tolist(), distances, strict=True))

    def measure_recall(self, *, k: int, queries: int = 100) -> float:
        """Which share of what the graph answers is as near as the `k` nearest others, asked with
        some vectors of its own; NaN of fewer than two."""
        if len(self) < 2:
            return np.nan
        rows = _stored(self._index, self._distance)
        exact = _make(self._distance, rows.shape[1], approximate=False)
        exact.add(rows)
        own = np.random.default_rng(0).permutation(len(rows))[:queries].tolist()
        k = min(k, len(rows) - 1)
        right, near = (self._others(index, rows[own], own, k=k) for index in (exact, self._index))
        # Several may be as far as the last, of codes above all; any of them is right.
        last = right[:, -1:]
        return float(((near <= last) | np.isclose(near, last, rtol=1e-5, atol=1e-7)).mean())

    def _others(self, index: Any, vectors: np.ndarray, own: list[int], *, k: int) -> np.ndarray:
        """The distances of what an index finds nearest beside the vector itself, `[q, k]`; infinite
        where it finds fewer."""
        out = np.full((len(own), k), np.inf)
        for i, (far, row) in enumerate(zip(*index.search(vectors, k + 1), strict=True)):
            others = (row >= 0) & (row != own[i])
            distances = _true(far[others][:k], self._distance)
            out[i, : len(distances)] = distances
        return out


class ChiSquaredIndex:
    """What faiss has no index for, with the methods of one."""

    def __init__(self, width: int):
        self.rows = np.zeros((0, width), np.float32)

    def add(self, rows: np.ndarray) -> None:
        """Adds rows `[n, width]`."""
        self.rows = np.concatenate([self.rows, rows])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The distances and places of the `k` nearest rows: `[q, k]`."""
        far = np.asarray(measure_distances(queries, self.rows, distance="chi_squared"))
        order = np.argsort(far, 1, kind="stable")[:, :k]
        return np.take_along_axis(far, order, 1), order


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError("an index needs faiss; pip install 'medjax[index]'") from None
    return faiss


def _make(distance: str, width: int, *, approximate: bool) -> Any:
    """An empty index of vectors that are so long: bytes of bits, or numbers."""
    if distance == "chi_squared":
        return ChiSquaredIndex(width)
    faiss = _import_faiss()
    if distance == BITS:
        bits = 8 * width
        if not approximate:
            return faiss.IndexBinaryFlat(bits)
        codes = faiss.IndexBinaryHNSW(bits, _LINKS)
        codes.hnsw.efSearch = _LOOKED_AT
        return codes
    metric = {
        "cosine": faiss.METRIC_INNER_PRODUCT,
        "euclidean": faiss.METRIC_L2,
        "manhattan": faiss.METRIC_L1,
    }[distance]
    if not approximate:
        return faiss.IndexFlat(width, metric)
    graph = faiss.IndexHNSWFlat(width, _LINKS, metric)
    graph.hnsw.efSearch = _LOOKED_AT
    return graph


def _stored(index: Any, distance: str) -> np.ndarray:
    """The rows that an index holds."""
    if isinstance(index, ChiSquaredIndex):
        return index.rows
    faiss = _import_faiss()
    storage = index.storage if hasattr(index, "storage") else index
    if distance == BITS:
        flat = faiss.downcast_IndexBinary(storage)
        return faiss.vector_to_array(flat.xb).reshape(index.ntotal, -1)
    return faiss.downcast_index(storage).reconstruct_n(0, index.ntotal)


def _prepare(vectors: np.ndarray, distance: str) -> np.ndarray:
    if distance == BITS:
        return np.ascontiguousarray(vectors, np.uint8)
    rows = np.ascontiguousarray(vectors, np.float32)
    if distance != "cosine":
        return rows
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


_true_of: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cosine": lambda product: 1.0 - product,
    "euclidean": lambda squared: np.sqrt(np.maximum(squared, 0.0)),
}


def _true(values: np.ndarray, distance: str) -> list[float]:
    """Distances as `ops.neighbours` defines them, of what faiss returns."""
    return _true_of.get(distance, np.asarray)(values).astype(float).tolist()

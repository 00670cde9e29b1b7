"""Nearest neighbours, exact and by a graph: medjax, faiss and scikit-learn, in one run.

    python -m benchmarks.neighbours --plot=neighbours.png

Vectors are made up: 64 numbers around 200 centres, compared by cosine, or their signs as 64 bits by
Hamming distance; k = 10. Building is timed once, searching in turns. Queries come one at a time.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import common
from medjax import app
from medjax.config import option
from medjax.evaluation import plot, report
from medjax.index.vectors import VectorSearch
from medjax.ops.neighbours import find_distance, find_nearest, pack_bits

_FEATURES, _CENTRES, _QUERIES, _K = 64, 200, 20, 10
_GRAPH_MOST = 100_000  # cases that a graph is built of, which takes long


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    cases: tuple[int, ...] = option((10_000, 100_000, 1_000_000), "sizes of the gallery", item=int)
    repeats: int = option(5, "repetitions, of which the median is reported", least=1)
    plot: str = option("", "file for a figure", path=True)
    json: str = option("", "file for the same as JSON", path=True)


class Searcher(NamedTuple):
    """A way to search.

    Attributes:
      search: from queries to rows `[q, k]`; build_seconds: before it can be used.
    """

    search: Callable[[], np.ndarray]
    build_seconds: float


def main(config: Config) -> None:
    busy, rows = common.busy_cores(), []
    for kind in ("cosine", "hamming"):
        for n in config.cases:
            rows += measure(kind, n, repeats=config.repeats)
    table = [
        [r["kind"], f"{r['cases']:,}", r["name"], f"{r['build_s']:.2f}", f"{r['ms']:.3f}",
         f"{r['recall']:.3f}"]
        for r in rows
    ]  # fmt: skip
    notes = [f"{busy:.1f} cores busy before it began" if busy else "nothing else ran"]
    names = ["distance", "cases", "by", "build s", "ms a query", "recall at 10"]
    report.show(f"nearest {_K} of {_FEATURES} numbers or bits", names, table, notes)
    if config.plot:
        draw(Path(config.plot), rows)
    if config.json:
        Path(config.json).write_text(json.dumps(rows, indent=1))


def measure(kind: str, n: int, *, repeats: int) -> list[dict[str, Any]]:
    """All ways for a gallery of `n`; recall is against the exact distances of medjax."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(_CENTRES, _FEATURES)).astype(np.float32)
    values = centres[rng.integers(0, _CENTRES, n + _QUERIES)]
    values = values + 0.7 * rng.normal(size=values.shape).astype(np.float32)
    vectors = np.packbits(values > 0, axis=1) if kind == "hamming" else values
    given, asked = vectors[:n], vectors[n:]
    makers = {"medjax": make_ours, "faiss, flat": functools.partial(make_faiss, approximate=False)}
    if n <= _GRAPH_MOST:
        makers["faiss, graph"] = functools.partial(make_faiss, approximate=True)
    if kind == "cosine":
        makers["scikit-learn"] = make_theirs
    ways = {name: make(kind, given, asked) for name, make in makers.items()}
    turns = {name: functools.partial(clock, way.search) for name, way in ways.items()}
    times = common.take_turns(turns, repeats=repeats)
    exact = measure_all(kind, given, asked)
    limit = np.sort(exact, 1)[:, _K - 1 : _K]
    return [
        {
            "kind": kind,
            "cases": n,
            "name": name,
            "build_s": way.build_seconds,
            "ms": 1000 * float(np.median(times[name])) / _QUERIES,
            "recall": float((np.take_along_axis(exact, way.search(), 1) <= limit + 1e-6).mean()),
        }
        for name, way in ways.items()
    ]


def clock(search: Callable[[], np.ndarray]) -> float:
    """Seconds of one search of all queries."""
    began = time.perf_counter()
    search()
    return time.perf_counter() - began


def measure_all(kind: str, given: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """All distances, by numpy."""
    if kind == "hamming":
        return np.stack([np.bitwise_count(given ^ q).sum(1) for q in asked]).astype(float)
    unit, ask = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (given, asked))
    return 1.0 - ask.astype(float) @ unit.T.astype(float)


def make_ours(kind: str, given: np.ndarray, asked: np.ndarray) -> Searcher:
    """The compiled exact search; building is preparing the vectors and compiling."""
    began = time.perf_counter()
    distance = find_distance(kind)
    if kind == "hamming":
        given, asked = (np.unpackbits(v, axis=1, bitorder="big") for v in (given, asked))
        given, asked = (np.asarray(jax.jit(jax.vmap(pack_bits))(v)) for v in (given, asked))
    prepare = jax.jit(jax.vmap(distance.prepare))
    known, queries = jax.device_put(prepare(given)), prepare(asked)
    find = functools.partial(find_nearest, k=_K, between=distance.between)
    compiled = jax.jit(lambda q, g: find(q, g).row).lower(queries[0], known).compile()

    def search() -> np.ndarray:
        return np.stack([np.asarray(compiled(query, known)) for query in queries])

    return Searcher(search, time.perf_counter() - began)


def make_faiss(kind: str, given: np.ndarray, asked: np.ndarray, *, approximate: bool) -> Searcher:
    """As `medjax index` searches."""
    began = time.perf_counter()
    made = VectorSearch(kind, approximate=approximate)
    made.add(np.arange(len(given)), given)

    def search() -> np.ndarray:
        found = [made.search(q, k=_K) for q in asked]
        return np.array([[number for number, _ in hits] for hits in found])

    return Searcher(search, time.perf_counter() - began)


def make_theirs(kind: str, given: np.ndarray, asked: np.ndarray) -> Searcher:
    """`sklearn.neighbors.NearestNeighbors`, which compares all."""
    from sklearn.neighbors import NearestNeighbors

    began = time.perf_counter()
    made = NearestNeighbors(n_neighbors=_K, metric="cosine", algorithm="brute", n_jobs=-1)
    made.fit(given)

    def search() -> np.ndarray:
        found = [made.kneighbors(query[None], return_distance=False) for query in asked]
        return np.concatenate(found)

    return Searcher(search, time.perf_counter() - began)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Milliseconds a query against the number of cases."""

    def fill(figure: Any, axes: Any) -> None:
        names = list(dict.fromkeys(row["name"] for row in rows))
        colours = dict(zip(names, plot.pick_colours(len(names)), strict=True))
        for ax, kind in zip(axes[0], ("cosine", "hamming"), strict=True):
            for name in names:
                mine = [r for r in rows if r["kind"] == kind and r["name"] == name]
                if mine:
                    x, y = [r["cases"] for r in mine], [r["ms"] for r in mine]
                    ax.plot(x, y, marker="o", ms=4, color=colours[name], label=name)
            text = "64 numbers, cosine" if kind == "cosine" else "64 bits, Hamming"
            ax.set(xscale="log", yscale="log", xlabel="cases", ylabel="ms a query", title=text)
            sizes = sorted({row["cases"] for row in rows})
            plot.named_numbers(ax.xaxis, {n: f"{n:,}" for n in sizes})
            plot.plain_numbers(ax.yaxis)
            ax.legend(loc="upper left")

    plot.new_figure(path, 1, 2, (8.4, 3.6), fill)


if __name__ == "__main__":
    app.run(main, Config)

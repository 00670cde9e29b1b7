"""The medjax side of `prepare`: a set prepared, or opened and read."""

import tempfile
from pathlib import Path

from benchmarks import learner, sides
from benchmarks.cases import Job
from medjax.data import source
from medjax.data.dataset import Dataset
from medjax.data.options import DataOptions


class Medjax:
    """The first time into an empty cache, later from the one that is filled."""

    def __init__(self, job: Job):
        learner.use(job.device)
        self._when, size, folder = job.case.split(" ", 2)
        self._options = DataOptions(data_dir=folder, image_size=int(size))
        self._batch, self._cache = job.batch, tempfile.TemporaryDirectory()
        self._load(self._cache.name)
        self.about = {**learner.about(), "compile_seconds": None}

    def _load(self, cache: str) -> Dataset:
        return source.load("image_folder", options=self._options, cache_dir=Path(cache))

    def advance(self, count: int) -> None:
        if self._when == "first":
            with tempfile.TemporaryDirectory() as cache:
                self._seen = sum(map(len, self._load(cache).splits.values()))
            return
        self._seen = 0
        for split in self._load(self._cache.name).splits.values():
            for start in range(0, len(split), self._batch):
                rows = range(start, min(start + self._batch, len(split)))
                self._seen += len(split.images(rows))

    def wait(self) -> float:
        return float(self._seen)


if __name__ == "__main__":
    sides.serve(Medjax)

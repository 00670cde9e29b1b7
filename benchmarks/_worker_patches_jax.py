"""The medjax side of `patches`: a prepared set, read as a training reads it."""

import functools
import tempfile
from pathlib import Path

import jax

from benchmarks import learner, sides
from benchmarks.cases import Job
from medjax.data import source
from medjax.data.options import MaskOptions
from medjax.data.patches import draw_patches
from medjax.train import feed

_A_CASE = 1000  # patches of an epoch


class Medjax:
    """Chunks of batches, the next one read ahead; they stay arrays of the host."""

    def __init__(self, job: Job):
        learner.use(job.device)
        side, folder = job.case.split(" ", 1)
        self._batch, self._cache, self._step = job.batch, tempfile.TemporaryDirectory(), 0
        options = MaskOptions(data_dir=folder, scaling="set")
        found = source.load("mask_folder", options=options, cache_dir=Path(self._cache.name))
        patches = draw_patches(
            found.splits["train"],
            patch=(int(side),) * 3,
            a_case=_A_CASE,
            structure_share=0.5,
            structures=1,
            seed=0,
        )
        self._feed = feed.stream(
            jax.random.key(0),
            functools.partial(patches.batch, columns=["mask"]),
            functools.partial(feed.batch_index, size=len(patches), batch=job.batch),
            place=lambda chunk: chunk,
        )
        self.about = {**learner.about(), "compile_seconds": None}

    def advance(self, count: int) -> None:
        for _ in range(count // self._batch):
            self._chunk = self._feed(self._step, 1)
            self._step += 1

    def wait(self) -> float:
        return float(self._chunk["mask"].mean())


if __name__ == "__main__":
    sides.serve(Medjax)

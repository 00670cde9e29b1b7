"""The other sides of `prepare`: torchvision's ImageFolder or MONAI's PersistentDataset."""

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from benchmarks import sides
from benchmarks.cases import Job


def torchvision_set(folder: str, size: int, cache: str):
    from torchvision import datasets, transforms

    change = [
        transforms.Grayscale(),
        transforms.Resize((size, size), antialias=True),
        transforms.PILToTensor(),
    ]
    return datasets.ImageFolder(folder, transforms.Compose(change))


def monai_set(folder: str, size: int, cache: str):
    from monai import transforms
    from monai.data import PersistentDataset

    change = [
        transforms.LoadImage(image_only=True, ensure_channel_first=True),
        transforms.Resize((size, size), mode="bilinear", anti_aliasing=True),
        transforms.CastToType(dtype=torch.uint8),
        transforms.EnsureType(track_meta=False),
    ]
    files = sorted(map(str, Path(folder).glob("*/*.*")))
    return PersistentDataset(files, transforms.Compose(change), cache_dir=cache)


class Peer:
    """An epoch of batches, a worker a core; workers live on from one epoch to the next, except in
    a first epoch, which has a cache of its own."""

    def __init__(self, job: Job):
        self._name = sys.argv[2]
        self._when, size, self._folder = job.case.split(" ", 2)
        self._size, self._batch = int(size), job.batch
        self._cache = tempfile.TemporaryDirectory()
        self._loader = self._load(self._cache.name)
        self._epoch(self._loader)
        packages = {"torch", self._name}
        self.about = {"compile_seconds": None, "versions": {p: version(p) for p in packages}}

    def _load(self, cache: str) -> DataLoader:
        make = {"torchvision": torchvision_set, "monai": monai_set}[self._name]
        return DataLoader(
            make(self._folder, self._size, cache),
            self._batch,
            num_workers=os.cpu_count() or 1,
            persistent_workers=True,
        )

    def _epoch(self, loader: DataLoader) -> None:
        batches = (b[0] if isinstance(b, (list, tuple)) else b for b in loader)
        self._seen = sum(len(batch) for batch in batches)

    def advance(self, count: int) -> None:
        if self._when == "first" and self._name == "monai":
            with tempfile.TemporaryDirectory() as cache:
                self._epoch(self._load(cache))
        else:
            self._epoch(self._loader)

    def wait(self) -> float:
        return float(self._seen)


if __name__ == "__main__":
    sides.serve(Peer)

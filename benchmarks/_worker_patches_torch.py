"""The other sides of `patches`: MONAI's CacheDataset or TorchIO's Queue."""

import itertools
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks import sides
from benchmarks.cases import Job

_A_CASE = 8  # patches that are drawn of a volume at a time
_QUEUE = 96  # patches


def pairs(folder: str) -> list[tuple[str, str]]:
    """All images and masks; medjax reads those of its training split."""
    return [
        (str(p), str(p.parents[1] / "labels" / p.name))
        for p in sorted(Path(folder, "images").iterdir())
    ]


def monai_batches(folder: str, side: int, batch: int) -> Iterator[Any]:
    """Volumes decoded once and held; each worker draws patches of its copy."""
    from monai import transforms
    from monai.data import CacheDataset, list_data_collate

    names = ["image", "label"]
    change = transforms.Compose(
        [
            transforms.LoadImaged(names, ensure_channel_first=True),
            transforms.RandCropByPosNegLabeld(
                names, "label", (side,) * 3, pos=1, neg=1, num_samples=batch
            ),
        ]
    )
    rows = [dict(zip(names, pair, strict=True)) for pair in pairs(folder)]
    held = CacheDataset(rows, change, cache_rate=1.0, progress=False)
    loader = DataLoader(
        held,
        batch_size=1,
        shuffle=True,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
        collate_fn=list_data_collate,
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def torchio_batches(folder: str, side: int, batch: int) -> Iterator[Any]:
    """Workers decode volumes and draw patches; the queue shuffles them."""
    import torchio

    subjects = torchio.SubjectsDataset(
        [
            torchio.Subject(image=torchio.ScalarImage(image), label=torchio.LabelMap(label))
            for image, label in pairs(folder)
        ]
    )
    sampler = torchio.LabelSampler(side, label_name="label", label_probabilities={0: 1, 1: 1})
    queue = torchio.Queue(
        subjects, _QUEUE, _A_CASE, sampler, num_workers=os.cpu_count() or 1, shuffle_patches=True
    )
    loader = torchio.SubjectsLoader(queue, batch_size=batch, num_workers=0)
    return itertools.chain.from_iterable(itertools.repeat(loader))


class Peer:
    """Batches without end."""

    def __init__(self, job: Job):
        name, (side, folder) = sys.argv[2], job.case.split(" ", 1)
        make = {"monai": monai_batches, "torchio": torchio_batches}[name]
        self._batch, self._batches = job.batch, make(folder, int(side), job.batch)
        next(self._batches)
        self.about = {"compile_seconds": None, "versions": {p: version(p) for p in ("torch", name)}}

    def advance(self, count: int) -> None:
        for _ in range(count // self._batch):
            found = next(self._batches)["label"]
        self._mask = torch.as_tensor(found["data"] if isinstance(found, dict) else found)

    def wait(self) -> float:
        return float(self._mask.float().mean())


if __name__ == "__main__":
    sides.serve(Peer)

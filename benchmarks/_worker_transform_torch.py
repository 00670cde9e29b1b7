"""The other sides of `transform`: MONAI's or TorchIO's transforms, image by image."""

import math
import os
import sys
from importlib.metadata import version

import torch

from benchmarks import sides
from benchmarks.cases import Job


def monai_transform(side: int):
    from monai.transforms import Rand3DElastic

    return Rand3DElastic(
        sigma_range=(5, 7),
        magnitude_range=(50, 150),
        prob=1.0,
        rotate_range=[math.pi / 12] * 3,
        scale_range=[0.1] * 3,
        translate_range=[0.05 * side] * 3,
        mode="bilinear",
        padding_mode="border",
    )


def torchio_transform(side: int):
    import torchio

    return torchio.Compose(
        [
            torchio.RandomAffine(scales=0.1, degrees=15, translation=0.05 * side),
            torchio.RandomElasticDeformation(num_control_points=7, max_displacement=0.05 * side),
        ]
    )


class Peer:
    """A transform that is applied to one volume after another."""

    def __init__(self, job: Job):
        name, side = sys.argv[2], int(job.case)
        torch.set_num_threads(os.cpu_count() or 1)
        self._transform = {"monai": monai_transform, "torchio": torchio_transform}[name](side)
        self._images = torch.rand((job.batch, 1, side, side, side))
        self.about = {"compile_seconds": None, "versions": {p: version(p) for p in ("torch", name)}}

    def advance(self, count: int) -> None:
        for _ in range(count):
            self._out = torch.stack([torch.as_tensor(self._transform(x)) for x in self._images])

    def wait(self) -> float:
        return float(self._out.mean())


if __name__ == "__main__":
    sides.serve(Peer)

"""PyTorch's side of `conv`."""

import os
from importlib.metadata import version

import torch

from benchmarks import sides
from benchmarks.cases import Job
from benchmarks.convolutions import CONVOLUTIONS


class Convolver:
    """Forward passes with both gradients, channels last."""

    def __init__(self, job: Job):
        torch.set_num_threads(os.cpu_count() or 1)
        case = CONVOLUTIONS[job.case]
        batch, *space, channels = case.images
        kind = torch.nn.Conv2d if len(space) == 2 else torch.nn.Conv3d
        layout = torch.channels_last if len(space) == 2 else torch.channels_last_3d
        images = torch.randn((batch, channels, *space)).to(memory_format=layout)
        self._images = images.requires_grad_()
        self._layer = kind(
            channels,
            case.features,
            case.taps,
            stride=case.stride,
            padding=case.taps // 2,
            groups=case.groups,
            bias=False,
        ).to(memory_format=layout)
        self.about = {"compile_seconds": None, "versions": {"torch": version("torch")}}

    def advance(self, count: int) -> None:
        for _ in range(count):
            out = (self._layer(self._images) ** 2).mean()
            self._gradients = torch.autograd.grad(out, (self._images, self._layer.weight))

    def wait(self) -> float:
        return float(self._gradients[1].sum())


if __name__ == "__main__":
    sides.serve(Convolver)

"""The other side of `window`: MONAI's sliding window."""

import sys

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from benchmarks import _worker_torch, sides
from benchmarks.cases import CASES, Job


class Monai:
    """A mask of a volume at each call; windows on the device, and the sum of them too."""

    def __init__(self, job: Job):
        side, window = map(int, job.case.split())
        self._device, self._window = _worker_torch.use(job.device), (window,) * 3
        net = _worker_torch.network(CASES["unet_3d"]).to(self._device)
        net = net.to(memory_format=torch.channels_last_3d).eval()
        compiled = "--compile" in sys.argv
        self._net = torch.compile(net) if compiled else net
        rng = np.random.default_rng(0)
        self._image = rng.standard_normal((1, 1, side, side, side), dtype=np.float32)
        seconds = sides.measure(self, 1, 1)["seconds"]
        self.about = {
            "compile_seconds": seconds if compiled else None,
            "parameters": sum(p.numel() for p in net.parameters()),
            "versions": _worker_torch.versions(),
        }

    def advance(self, count: int) -> None:
        for _ in range(count):
            with torch.inference_mode():
                shares = sliding_window_inference(
                    torch.from_numpy(self._image).to(self._device),
                    self._window,
                    1,
                    lambda x: torch.softmax(self._net(x), 1),
                    overlap=0.5,
                    mode="gaussian",
                )
                self._mask = shares[0].argmax(0).cpu().numpy()

    def wait(self) -> float:
        return float(self._mask.mean())


if __name__ == "__main__":
    sides.serve(Monai)

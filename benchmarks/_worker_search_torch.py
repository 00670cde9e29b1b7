"""The PyTorch side of `search --mode=update`: the same network, eager or by `torch.compile`."""

import os
import sys

import torch
from torch import nn
from torch.nn import functional

from benchmarks import sides
from benchmarks.cases import Job

CONVOLUTIONS = ((32, 5), (32, 5), (64, 4), (64, 3))


def network(crop: int, history: int, hidden: int = 128) -> nn.Module:
    """Convolutions and poolings of Alansary et al. 2019, then three dense layers."""
    layers: list[nn.Module] = []
    before, side = history, crop
    for i, (features, kernel) in enumerate(CONVOLUTIONS, start=1):
        last = i == len(CONVOLUTIONS)
        layers += [nn.Conv3d(before, features, kernel, padding=0 if last else 1), nn.ReLU()]
        layers += [] if last else [nn.MaxPool3d(2)]
        side = side + 1 - kernel if last else (side + 3 - kernel) // 2
        before = features
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(before * side**3, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 6),
    )


class Torch:
    """Updates on one batch of crops."""

    def __init__(self, job: Job):
        crop, history = map(int, job.case.split(","))
        torch.manual_seed(0)
        torch.set_num_threads(os.cpu_count() or 1)
        if job.device == "gpu":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        device = torch.device({"cpu": "cpu", "gpu": "cuda"}[job.device])
        layout = torch.channels_last_3d
        net, target = (network(crop, history).to(device).to(memory_format=layout) for _ in range(2))
        compiled = "--compile" in sys.argv
        self._net, self._target = (torch.compile(n) if compiled else n for n in (net, target))
        self._optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
        shape = (job.batch, history, crop, crop, crop)
        self._seen, self._after = (
            torch.randint(0, 255, shape, dtype=torch.uint8, device=device).to(memory_format=layout)
            for _ in range(2)
        )
        self._action = torch.randint(0, 6, (job.batch, 1), device=device)
        seconds = sides.measure(self, 1, 1)["seconds"]  # compiles, and takes one step
        self.about = {
            "compile_seconds": seconds if compiled else None,
            "versions": {"torch": torch.__version__},
            "parameters": sum(p.numel() for p in net.parameters()),
        }

    def advance(self, count: int) -> None:
        for _ in range(count):
            seen, after = ((x.float() / 255 - 0.5) / 0.3 for x in (self._seen, self._after))
            with torch.no_grad():
                choice = self._net(after).argmax(1, keepdim=True)
                wanted = 1.0 + 0.9 * self._target(after).gather(1, choice)
            said = self._net(seen).gather(1, self._action)
            loss = functional.huber_loss(said, wanted)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self._net.parameters(), 1.0)
            self._optimizer.step()
            self._loss = loss.detach()

    def wait(self) -> float:
        return float(self._loss)


if __name__ == "__main__":
    sides.serve(Torch)

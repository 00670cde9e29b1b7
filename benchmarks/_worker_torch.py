"""The PyTorch side of `train_step`: ResNets and U-Nets of MONAI, eager or by `torch.compile`."""

import os
import platform
import sys

import monai
import torch
from monai.networks.nets.basic_unet import BasicUNet
from monai.networks.nets.resnet import ResNet
from torch.nn import functional

from benchmarks import sides
from benchmarks.cases import BATCHES, CASES, LEARNING_RATE, MOMENTUM, Case, Job, batches


def network(case: Case) -> torch.nn.Module:
    """The network of `case`, with medjax's stem and without a bias that batch norm would undo."""
    if case.widths:
        return BasicUNet(
            len(case.shape) - 1, case.shape[-1], case.num_classes, (*case.widths, case.widths[0])
        )
    if case.model == "sononet16":
        return sononet(case.num_classes)
    kernel, stride = (3, 1) if case.small_input else (7, 2)
    return ResNet(
        case.block,
        list(case.depths),
        [64, 128, 256, 512],
        spatial_dims=len(case.shape) - 1,
        n_input_channels=case.shape[-1],
        num_classes=case.num_classes,
        conv1_t_size=kernel,
        conv1_t_stride=stride,
        no_max_pool=case.small_input,
        bias_downsample=False,
    )


def sononet(num_classes: int, width: int = 16) -> torch.nn.Module:
    """SonoNet (Baumgartner et al. 2017): convolutions with batch norm, and the mean of the maps."""
    plan = [width] * 2 + [2 * width] * 2 + [4 * width] * 3 + [8 * width] * 6
    layers, before = [], 1
    for i, (features, kernel) in enumerate(
        [*((n, 3) for n in plan), (4 * width, 1), (num_classes, 1)]
    ):
        layers += [torch.nn.MaxPool2d(2)] if i in (2, 4, 7, 10) else []
        layers += [
            torch.nn.Conv2d(before, features, kernel, padding=kernel // 2, bias=False),
            torch.nn.BatchNorm2d(features),
            torch.nn.ReLU(),
        ]
        before = features
    return torch.nn.Sequential(*layers[:-1], torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def use(device: str) -> torch.device:
    """The device, with all cores of a CPU, and on a GPU what XLA does too (TF32, autotuning)."""
    torch.set_num_threads(os.cpu_count() or 1)
    if device == "gpu":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    return torch.device({"cpu": "cpu", "gpu": "cuda"}[device])


def versions() -> dict[str, str]:
    """Versions, and how OpenMP's threads wait, which matters on a busy machine."""
    return {
        "torch": torch.__version__,
        "monai": monai.__version__,
        "torch's python": platform.python_version(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set"),
    }


class Torch:
    """A network in training."""

    def __init__(self, job: Job):
        case, self._predict = CASES[job.case], job.mode == "predict"
        self._maps = bool(case.widths)
        self._device, self._low = use(job.device), job.dtype == "bfloat16"
        layout = torch.channels_last if len(case.shape) == 3 else torch.channels_last_3d
        net = network(case).to(self._device).to(memory_format=layout)
        net.train(not self._predict)
        compiled = "--compile" in sys.argv
        self._net = torch.compile(net) if compiled else net
        self._optimizer = torch.optim.SGD(
            net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, fused=True
        )
        self._load(batches(case, batch=job.batch))
        seconds = sides.measure(self, 1, 1)["seconds"]  # compiles, and takes one step
        self.about = {
            "compile_seconds": seconds if compiled else None,
            "parameters": sum(p.numel() for p in net.parameters()),
            "versions": versions(),
        }

    def _load(self, data: dict) -> None:
        """To the device; moving the axis of a channels-last array keeps it channels last."""
        self._images = torch.from_numpy(data["image"]).to(self._device).movedim(-1, 2)
        self._labels = torch.from_numpy(data["label"]).to(self._device)
        self._labels = self._labels.movedim(-1, 2) if self._maps else self._labels
        self._step = 0

    def advance(self, count: int) -> None:
        for _ in range(count):
            self._update(self._step % BATCHES)
            self._step += 1

    def _update(self, i: int) -> None:
        if self._predict:
            with torch.inference_mode():
                self._loss = self._net(self._images[i]).ravel()[0]
            return
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            logits = self._net(self._images[i])
        loss = functional.mse_loss if self._maps else functional.cross_entropy
        self._loss = loss(logits.float(), self._labels[i])
        self._loss.backward()
        self._optimizer.step()

    def wait(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return self._loss.item()


if __name__ == "__main__":
    sides.serve(Torch)

"""Patches with masks drawn from volumes: medjax against MONAI and TorchIO, on a CPU.

    python -m benchmarks.patches --torch_python=/path/to/python

Half of the patches lie on the structure. medjax maps the prepared set into memory; MONAI's
CacheDataset holds volumes in memory, and RandCropByPosNegLabel draws; TorchIO's Queue holds patches
of a LabelSampler, shuffled. The two have a worker process a core, medjax reads in one thread. A
step is one patch, image and mask, as an array of the host.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cases import Job
from benchmarks.race import race_and_report
from medjax import app
from medjax.config import option
from medjax.errors import UserError

PEERS = {"MONAI CacheDataset": "monai", "TorchIO Queue": "torchio"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    volumes: int = option(12, "files")
    side: int = option(192, "of a volume")
    patch: int = option(96, "of a patch")
    batch: int = option(2, "patches at a time")
    updates: int = option(96, "patches in one repetition")
    repeats: int = option(5, "repetitions, of which the median is reported")
    torch_python: str = option("", "interpreter that has monai and torchio; empty: this one")
    json: str = option("", "file for the same as JSON")


def main(config: Config) -> None:
    if min(config.patch, config.batch, config.updates, config.repeats) < 1 or config.volumes < 8:
        raise UserError("--patch, --batch, --updates, --repeats: at least 1; --volumes: 8")
    if config.side < config.patch or config.updates % config.batch:
        raise UserError("--side: at least --patch; --updates: a multiple of --batch")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), config)
        job = Job(f"{config.patch} {folder}", config.batch, "float32", "cpu")
        python = config.torch_python or sys.executable
        workers = {
            "medjax": (sys.executable, "benchmarks._worker_patches_jax"),
            **{name: (python, "benchmarks._worker_patches_torch", p) for name, p in PEERS.items()},
        }
        race_and_report(
            f"patches of {config.patch}^3 of {config.volumes} volumes of {config.side}^3 int16",
            workers,
            job,
            updates=config.updates,
            repeats=config.repeats,
            path=config.json,
        )


def write(folder: Path, config: Config) -> None:
    """Volumes of noise with a bright ball, and its mask."""
    import nibabel

    rng = np.random.default_rng(0)
    places = np.arange(config.side)
    for i in range(config.volumes):
        middle = rng.uniform(0.3, 0.7, 3) * config.side
        lines = [(places - m) ** 2 for m in middle]
        away = lines[0][:, None, None] + lines[1][:, None] + lines[2]
        inside = away < (0.15 * config.side) ** 2
        noise = rng.normal(0, 60, inside.shape)
        parts = {
            "images": (500 * inside + noise).astype(np.int16),
            "labels": inside.astype(np.uint8),
        }
        for name, values in parts.items():
            (folder / name).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / name / f"{i:03}.nii")


if __name__ == "__main__":
    app.run(main, Config)

"""Images read from files, a first and a later time: medjax, torchvision and MONAI, on a CPU.

    python -m benchmarks.prepare --torch_python=/path/to/python

Every side brings the same gray pictures to one size. medjax prepares a set of them (check, resize,
digest, write) and reads that; MONAI's PersistentDataset keeps what it has decoded and resized;
torchvision's ImageFolder decodes in every epoch. Each has a worker a core. A step is one image.
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

PEERS = {"torchvision ImageFolder": "torchvision", "MONAI PersistentDataset": "monai"}


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    images: int = option(600, "files")
    side: int = option(512, "of a picture")
    size: int = option(224, "of what it becomes")
    suffix: str = option("png", "the kind of file", choices=("png", "jpg"))
    repeats: int = option(5, "repetitions, of which the median is reported")
    torch_python: str = option("", "interpreter that has torchvision and monai; empty: this one")
    json: str = option("", "folder for the same as JSON, a file a table")


def main(config: Config) -> None:
    if min(config.side, config.size, config.repeats) < 1 or config.images < 100:
        raise UserError("--side, --size, --repeats: at least 1; --images: at least 100")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), config)
        for when in ("first", "later"):
            time_sides(config, when, folder)


def write(folder: Path, config: Config) -> None:
    """Smooth pictures with noise, in three folders: classes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(config.images):
        coarse = Image.fromarray(rng.uniform(40, 220, (32, 32)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((config.side, config.side), Image.Resampling.BILINEAR))
        noisy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        (folder / f"class_{i % 3}").mkdir(exist_ok=True)
        Image.fromarray(noisy).save(folder / f"class_{i % 3}" / f"{i:05}.{config.suffix}")


def time_sides(config: Config, when: str, folder: str) -> None:
    """One table: the first time, or a later one."""
    job = Job(f"{when} {config.size} {folder}", 64, "float32", "cpu")
    python = config.torch_python or sys.executable
    workers = {
        "medjax": (sys.executable, "benchmarks._worker_prepare_jax"),
        **{name: (python, "benchmarks._worker_prepare_torch", p) for name, p in PEERS.items()},
    }
    race_and_report(
        f"images, a {when} time: {config.images} {config.suffix} of {config.side}^2 to "
        f"{config.size}^2",
        workers,
        job,
        updates=config.images,
        repeats=config.repeats,
        path=f"{config.json}/{when}.json" if config.json else "",
    )


if __name__ == "__main__":
    app.run(main, Config)

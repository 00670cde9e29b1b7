"""Fetal standard planes by SonoNet with its authors' weights: what a frame shows, and where.

    medjax sononet --weights=SonoNet16.npz --input=MY_FRAMES

The nine real frames of the authors that were at hand are all classified right, the lowest
probability 0.57 (2026-11-24); the authors chose them, so this tests the import, not the accuracy.

Each frame is a picture as the scanner saved it; `--crop` cuts its image out. The box is weakly
supervised, as the network never saw one (Baumgartner et al. 2017, section III-C): guided
back-propagation of the class map's positive part, blurred, thresholded, the components that matter.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from medjax import app
from medjax.config import option
from medjax.data import images
from medjax.errors import UserError
from medjax.evaluation import report
from medjax.models import sononet as network
from medjax.tasks import sononet
from medjax.train.record import write_table


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are the flags."""

    weights: str = option("", "the authors' .npz of SonoNet-16, -32 or -64", path=True)
    input: str = option("", "a picture, or a folder of pictures", path=True)
    workdir: str = option("runs/sononet", "where everything is written", free=True, path=True)
    crop: tuple[int, ...] = option(
        (115, 734, 81, 874),
        "first and last row, first and last column of the image within a frame; empty: all",
        item=int,
    )
    threshold: float = option(0.3, "share of the saliency's peak from which it counts")


def main(config: Config) -> None:
    if len(config.crop) not in (0, 4):
        raise UserError("`crop`: give first and last row, first and last column")
    if not 0 < config.threshold < 1:
        raise UserError(f"`threshold={config.threshold}`: must lie between 0 and 1")
    paths, workdir = pictures(Path(config.input)), Path(config.workdir)
    read = sononet.load(Path(config.weights))
    answers = []
    for number, path in enumerate(paths, start=1):
        frame, corner = cut(images.read(path).pixels, config.crop, origin=path)
        answer = read(frame, config.threshold)
        answers.append((path, frame, corner, answer))
        print(
            f"{number}/{len(paths)} {path.name}: {answer.plane} {answer.confidence:.3f}", flush=True
        )
    workdir.mkdir(parents=True, exist_ok=True)
    write(workdir / "predictions.csv", answers)
    sononet.draw(
        workdir / "boxes.png", [(p.name, frame, answer) for p, frame, _, answer in answers]
    )
    report.show(
        "SonoNet",
        ["frame", "plane", "probability"],
        [[p.name, answer.plane, f"{answer.confidence:.3f}"] for p, _, _, answer in answers],
        [f"wrote {workdir / name}" for name in ("predictions.csv", "boxes.png")],
    )


def pictures(path: Path) -> list[Path]:
    """Raises UserError if there are none."""
    if not path.name or not path.exists():
        raise UserError(f"`input={path}`: no such file or folder")
    answers = (
        [path]
        if path.is_file()
        else sorted(p for p in path.iterdir() if images.suffix(p) in images.PICTURES)
    )
    if not answers:
        raise UserError(f"`input={path}`: no pictures in it ({', '.join(images.PICTURES)})")
    return answers


def cut(
    pixels: np.ndarray, crop: tuple[int, ...], *, origin: Path
) -> tuple[np.ndarray, tuple[int, int]]:
    """The image within a frame, and its first row and column."""
    top, bottom, left, right = crop or (0, pixels.shape[0], 0, pixels.shape[1])
    if not (0 <= top < bottom <= pixels.shape[0] and 0 <= left < right <= pixels.shape[1]):
        raise UserError(
            f"{origin}: is {pixels.shape[1]} x {pixels.shape[0]}, and `crop="
            f"{','.join(map(str, crop))}` does not lie in it; give the rows and columns "
            "of your scanner, or an empty `crop` for the whole picture"
        )
    return pixels[top:bottom, left:right], (top, left)


def write(path: Path, answers: list[tuple[Path, Any, tuple[int, int], sononet.Seen]]) -> None:
    """One row a frame: plane, probabilities, and the box in pixels of the file."""

    def row(file: Path, corner: tuple[int, int], answer: sononet.Seen) -> list[Any]:
        top, left = corner
        box = (
            [np.nan] * 4
            if answer.box is None
            else [float(v + o) for v, o in zip(answer.box, (left, top, left, top), strict=True)]
        )
        return [file.name, answer.plane, float(answer.confidence), *box, *answer.probability]

    header = [
        "case_id",
        "plane",
        "confidence",
        "left",
        "top",
        "right",
        "bottom",
        *(f"p_{name}" for name in network.PLANES),
    ]
    write_table(path, header, (row(file, corner, answer) for file, _, corner, answer in answers))


if __name__ == "__main__":
    app.run(main, Config)

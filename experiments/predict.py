"""Answers of a shared network for one's own images.

    python -m experiments.predict --bundle=my_bundle --input=my_images --output=answers

`--input` is a file or a folder: pictures, NIfTI, DICOM (pip install pydicom), and of sequences also
GIF, videos (pip install av) and folders of pictures. `answers/` then holds `predictions.csv`
(probabilities; or landmarks in pixels and mm; or frames), `overlays/` to look at, of volumes with
landmarks a `.mrk.json` each for 3D Slicer, and of sequences `scores.csv`. A file that cannot be
read does not stop the rest: such files are listed at the end, and the exit code is then 1.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax import app, bundle
from medjax.data import images
from medjax.data.landmarks import pose
from medjax.data.sequences import files as sequence_files
from medjax.errors import UserError
from medjax.predictors import Answer, Moments, Points
from medjax.predictors.trained import Ready, Wishes
from medjax.train.record import write_table

option = app.option


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    bundle: str = option("", "folder or archive, as `experiments.share make` wrote it")
    input: str = option("", "a file, or a folder that is searched for files")
    output: str = option("", "new folder for the answers")
    spacing_mm: float = option(0.0, "size of a pixel, where the files do not tell it")
    frame_ms: float = option(0.0, "from one frame to the next, where the files do not tell it")
    resize: bool = option(False, "bring images of other shapes to that of the training")
    pose_from: str = option("", "for a network of images in one pose: the predictions.csv of one "
                            "that looks first")
    overlays: int = option(100, "draw so many cases; 0: none")
    batch: int = option(8, "images at a time")
    limit_gb: float = option(4.0, "refuse to read a larger bundle")
    cache_dir: str = option("~/.cache/medjax", "compiled programs")


def main(config: Config) -> None:
    for name in ("spacing_mm", "frame_ms", "overlays"):
        if not 0 <= getattr(config, name) < np.inf:
            raise UserError(f"--{name}={getattr(config, name)}: must not be negative, and finite")
    if config.batch < 1:
        raise UserError(f"--batch={config.batch}: must be at least 1")
    output = Path(config.output)
    if not config.output or (output.exists() and (output.is_file() or any(output.iterdir()))):
        raise UserError(f"--output={config.output}: name a new or empty folder")
    app.setup(Path(config.cache_dir).expanduser())
    model = bundle.load(config.bundle, limit_bytes=int(config.limit_gb * 1e9))
    paths = inputs(config.input, sequences=model.experiment == "temporal")
    wishes = Wishes(config.spacing_mm, config.frame_ms, config.resize, first_look(config, model))
    bad = answer(config, model, wishes, paths, output)
    if bad:
        print(f"\n{len(bad)} of {len(paths)} could not be answered:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in bad), file=sys.stderr, flush=True)
        sys.exit(1)


def inputs(name: str, *, sequences: bool) -> list[tuple[Path, str]]:
    """The files, or folders that are sequences, and what each is called."""
    path = Path(name)
    if not name or not path.exists():
        raise UserError(f"--input={name}: no such file or folder")
    if path.is_file():
        return [(path, path.name)]
    known = sequence_files.SUFFIXES if sequences else images.SUFFIXES
    folders = {p.parent for p in path.rglob("*") if sequences and p.is_file()
               and images.suffix(p) in images.PICTURES and images.suffix(p) not in known}
    found = folders | {p for p in path.rglob("*") if p.is_file() and images.suffix(p) in known
                       and p.parent not in folders}
    if not found:
        raise UserError(f"--input={path}: holds no {'sequences' if sequences else 'images'} "
                        f"({', '.join(known)})")
    return [(p, p.relative_to(path).as_posix() if p != path else p.name) for p in sorted(found)]


def first_look(config: Config, model: bundle.Bundle) -> dict[str, np.ndarray]:
    """By case, what another network has found; empty where this one needs none."""
    names = tuple(name for name, _ in model.trained.info.pose)
    if bool(names) != bool(config.pose_from):
        raise UserError("--pose_from: this network takes images in one pose; give predictions.csv "
                        "of one that looks first" if names else
                        "--pose_from: this network takes images in any pose; leave it out")
    return pose.read_points(Path(config.pose_from), names) if names else {}


def answer(config: Config, model: bundle.Bundle, wishes: Wishes,
           paths: Sequence[tuple[Path, str]], output: Path) -> list[str]:
    """Writes the answers as they come; what is wrong with the files that have none."""
    from rich.progress import Progress

    bad: list[str] = []
    writer = Writer(model, output, overlays=config.overlays)
    answers = model.answers(config.batch)
    with Progress(disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task("predicting", total=len(paths))
        for ready in chunks(ready_cases(model, wishes, paths, bad, lambda: bar.advance(task)),
                            size=config.batch):
            for one, found in zip(ready, answers(ready), strict=True):
                writer.write(one, found)
    writer.close()
    done = len(paths) - len(bad)
    print(f"wrote {output}: {writer.count} answers of {done} file{'s' if done != 1 else ''}")
    return bad


def ready_cases(model: bundle.Bundle, wishes: Wishes, paths: Sequence[tuple[Path, str]],
                bad: list[str], advance: Any) -> Iterator[Ready]:
    """Every image of every file; what cannot be read goes to `bad`."""
    for path, name in paths:
        try:
            yield from model.how.read(path, model.trained, case_id=name, wishes=wishes)
        except UserError as e:
            line = str(e)
            bad.append(line if name in line else f"{name}: {line}")
        advance()


def chunks(ready: Iterator[Ready], *, size: int) -> Iterator[list[Ready]]:
    """So many in a row, of one shape each."""
    part: list[Ready] = []
    for one in ready:
        if part and (len(part) == size or one.image.shape != part[0].image.shape):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


class Writer:
    """Writes answers into files that appear whole, when all is done."""

    def __init__(self, model: bundle.Bundle, output: Path, *, overlays: int):
        self.count, self._model, self._output, self._overlays = 0, model, output, overlays
        self._names: set[str] = set()
        self._tables: dict[str, list[dict[str, Any]]] = {"predictions.csv": []}
        output.mkdir(parents=True, exist_ok=True)

    def write(self, ready: Ready, found: Answer) -> None:
        self._tables["predictions.csv"] += found.rows()
        name = found.case_id.replace("/", "_").replace(":", "_")
        while name in self._names:  # a/b and a_b
            name += "_"
        self._names.add(name)
        if isinstance(found, Moments):
            self._tables.setdefault("scores.csv", []).extend(found.score_rows())
        if isinstance(found, Points) and found.points.shape[-1] == 3:
            folder = self._output / "landmarks"
            folder.mkdir(exist_ok=True)
            found.write_list(folder / f"{name}.mrk.json")
        if self.count < self._overlays:
            folder = self._output / "overlays"
            folder.mkdir(exist_ok=True)
            self._model.how.draw(folder / f"{name}.png", ready.image, found)  # type: ignore[arg-type]
        self.count += 1

    def close(self) -> None:
        for name, rows in self._tables.items():
            if rows:
                write_table(self._output / name, list(rows[0]), (list(r.values()) for r in rows))


if __name__ == "__main__":
    app.run(main, Config)

"""Answers of a shared network for one's own images.

    medjax predict my_bundle my_images --output=answers

The images are a file or a folder: pictures, NIfTI, DICOM (pip install pydicom), and of sequences
also GIF, videos (pip install av) and folders of pictures. `answers/` then holds `predictions.csv`
(probabilities; or quantities; or landmarks in pixels and mm; or frames), `overlays/` to look at, of
volumes with landmarks a `.mrk.json` each for 3D Slicer, and of sequences `scores.csv`. A file that
cannot be read does not stop the rest: such files are listed at the end, and the exit code is then
1.
"""

import contextlib
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from medjax import app, bundle, lock, progress, runtime
from medjax.config import option
from medjax.data import walk
from medjax.data.landmarks import pose
from medjax.data.pairs.folder import read_pairs
from medjax.errors import ExitError, UserError, first_line
from medjax.evaluation import report
from medjax.files import Names, write_table
from medjax.outputs.base import Answer, ImageHints, ModelSpec, Preparation, PreparedImage
from medjax.train import mesh
from medjax.typing import Json

LOCK = ".lock"
_SHOWN_ROWS, _SHOWN_COLUMNS = 10, 8


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    bundle: str = option(
        "", "folder or archive, as `medjax share make` wrote it", path=True, positional=True
    )
    input: str = option(
        "", "a file, or a folder that is searched for files", path=True, positional=True
    )
    output: str = option("answers", "new folder for the answers", path=True, positional=True)
    spacing_mm: float = option(0.0, "size of a pixel, where the files do not tell it", common=True)
    frame_ms: float = option(0.0, "from one frame to the next, where the files do not tell it")
    channels: str = option(
        "",
        "gray: colour images are made gray for a network of gray ones",
        choices=("", "gray"),
        common=True,
    )
    series: str = option(
        "", "folders with several DICOM series: which one, by its description, number or UID"
    )
    resize: bool = option(False, "bring images of other shapes to that of the training")
    pose_from: str = option(
        "",
        "for a network of images in one pose: the predictions.csv of one that looks first",
        path=True,
    )
    fixed: str = option(
        "",
        "of a network that registers: the image that all others are registered to",
        path=True,
        common=True,
    )
    pairs: str = option(
        "",
        "of a network that registers: a table of files, columns fixed and moving",
        path=True,
        common=True,
    )
    overlays: int = option(100, "draw so many cases; 0: none", common=True)
    batch: int = option(8, "images at a time")
    limit_gb: float = option(4.0, "refuse to read a larger bundle", least=0)
    public_key: str = option(
        "", "the bundle must be signed by the owner of this key (PEM)", path=True
    )
    sha256: str = option("", "the bundle must be the one with this sha256")
    max_image_gb: float = option(2.0, "refuse an image that is larger once decoded", least=0)
    cache_dir: str = option("~/.cache/medjax", "compiled programs", path=True)


def main(config: Config) -> None:
    for name in ("spacing_mm", "frame_ms", "overlays"):
        if not 0 <= getattr(config, name) < np.inf:
            raise UserError(f"`{name}={getattr(config, name)}`: must not be negative, and finite")
    if config.batch < 1:
        raise UserError(f"`batch={config.batch}`: must be at least 1")
    if not config.bundle:
        raise UserError("`bundle`: name the bundle to use, a folder or an archive")
    output = Path(config.output)
    check_empty(config.output)
    runtime.setup(Path(config.cache_dir).expanduser())
    runtime.check_device()
    with progress.alive("reading the bundle"):
        model = bundle.load(
            config.bundle,
            limit_bytes=int(config.limit_gb * 1e9),
            sha256=config.sha256,
            public_key=config.public_key,
        )
    paths = inputs(config.input, model.predictor.output.prepare, model.spec)
    check_pairs(config, model.spec)
    paths, fixed = pair_up(paths, fixed=config.fixed, pairs=config.pairs)
    hints = ImageHints(
        config.spacing_mm,
        config.frame_ms,
        config.resize,
        first_look(config, model),
        int(config.max_image_gb * 1e9),
        config.channels,
        config.series,
        fixed,
    )
    with alone(output), progress.alive("predicting"):
        bad = answer(config, model, hints, paths, output)
    if bad:
        print(f"\n{len(bad)} of {len(paths)} could not be answered:", file=sys.stderr)
        lines = "\n".join(f"  {line}" for line in grouped(bad))
        print(app.name_flags(lines, Config), file=sys.stderr, flush=True)
        raise ExitError(1)


def inputs(name: str, prepare: Preparation, spec: ModelSpec) -> list[tuple[Path, str]]:
    """The files, or folders that are one, and what each is called; tells what is left out."""
    path = Path(name)
    if not name or not path.exists():
        raise UserError(f"`input={name}`: no such file or folder")
    if path.is_file():
        return [(path, path.name)]
    files, left_out = prepare.list_files(path, spec)
    if not files:
        raise UserError(f"`input={path}`: holds no {prepare.noun} ({', '.join(prepare.suffixes)})")
    for note in walk.note_left_out(Counter(left_out)):
        print(f"note: {note}")
    return [(p, p.relative_to(path).as_posix() if p != path else p.name) for p in files]


def check_pairs(config: Config, spec: ModelSpec) -> None:
    """Raises UserError if pairs are named and the network registers none."""
    given = next((name for name in ("fixed", "pairs") if getattr(config, name)), None)
    if given and not spec.info.pairing:
        raise UserError(
            f"`{given}` is for networks that register images, which this one does not; leave it out"
        )


def pair_up(
    paths: Sequence[tuple[Path, str]], *, fixed: str, pairs: str
) -> tuple[list[tuple[Path, str]], dict[str, Path]]:
    """What is answered, and by its name the file that it is registered to: every file to `fixed`,
    the pairs of a table, or none to any."""
    if fixed and pairs:
        raise UserError("`fixed`: of all images; with `pairs` each has its own: leave one out")
    if fixed and len(paths) > 1:
        moved = [(p, name) for p, name in paths if p.resolve() != Path(fixed).resolve()]
        if len(moved) < len(paths):
            print(f"note: {fixed} is the fixed image itself, and left out")
        paths = moved
    if not pairs:
        return [*paths], dict.fromkeys((name for _, name in paths), Path(fixed)) if fixed else {}
    if not Path(pairs).is_file():
        raise UserError(f"`pairs={pairs}`: no such file")
    files = {name: path for path, name in paths}
    moving, to = [], {}
    for first, others in read_pairs(Path(pairs), [*files]).items():
        for other in others:
            name = f"{other} to {first}"
            moving.append((files[other], name))
            to[name] = files[first]
    return moving, to


def check_empty(output: str) -> None:
    """Raises UserError if something would be written over."""
    path = Path(output)
    if (
        not output
        or (path.exists() and not path.is_dir())
        or (path.is_dir() and any(p.name != LOCK for p in path.iterdir()))
    ):
        raise UserError(f"`output={output}`: name a new or empty folder")


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Holds the output; raises UserError if another process does."""
    output.mkdir(parents=True, exist_ok=True)
    with lock.hold(output / LOCK, wait=False) as held:
        if not held:
            raise UserError(f"`output={output}`: another process writes into it; name another")
        check_empty(str(output))  # another may have come and gone meanwhile
        try:
            yield
        finally:
            (output / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                output.rmdir()  # nothing was answered


def grouped(bad: Sequence[tuple[str, str]]) -> list[str]:
    """A line a complaint, with the files that it is of."""
    by: dict[str, list[str]] = {}
    for name, complaint in bad:
        by.setdefault(complaint, []).append(name)
    return [
        f"{names[0]}: {complaint}"
        if len(names) == 1
        else f"{len(names)} files: {complaint} ({walk.such_as(names)})"
        for complaint, names in by.items()
    ]


def first_look(config: Config, model: bundle.Bundle) -> dict[str, np.ndarray]:
    """By case, what another network has found; empty where this one needs none."""
    names = tuple(name for name, _ in model.spec.info.pose)
    if bool(names) != bool(config.pose_from):
        raise UserError(
            "`pose_from`: this network takes images in one pose; give predictions.csv "
            "of one that looks first"
            if names
            else "`pose_from`: this network takes images in any pose; leave it out"
        )
    return pose.read_points(Path(config.pose_from), names) if names else {}


def answer(
    config: Config,
    model: bundle.Bundle,
    hints: ImageHints,
    paths: Sequence[tuple[Path, str]],
    output: Path,
) -> list[tuple[str, str]]:
    """Writes the answers as they come; which files have none, and why."""
    bad: list[tuple[str, str]] = []
    writer = Writer(output, overlays=config.overlays)
    size, answers = at_a_time(config.batch, model), None
    tracked = progress.track(paths, total=len(paths), what="predicting")
    try:
        for ready in chunks(ready_cases(model, hints, tracked, bad), size=size):
            answers = answers or model.answers(len(ready))  # no more than there are
            for image, answer in zip(ready, answers(ready), strict=True):
                writer.write(image, answer)
    except BaseException:
        print(
            f"ended early: {output} has {writer.count} answers of {len(paths)} files",
            file=sys.stderr,
            flush=True,
        )
        raise
    finally:
        writer.close()
    if not writer.count:
        return bad
    writer.show()
    files = walk.counted(len(paths), "file")
    wrote = ", ".join(sorted(p.name + "/" * p.is_dir() for p in output.iterdir() if p.name != LOCK))
    if writer.count > writer.overlays > 0:
        wrote = wrote.replace("overlays/", f"overlays/ (the first {writer.overlays})")
    print(f"wrote {output}: {walk.counted(writer.count, 'answer')} of {files}: {wrote}")
    for line in grouped(writer.failed):
        print(f"note: not drawn: {line}")
    return bad


def at_a_time(batch: int, model: bundle.Bundle) -> int:
    """How many images are answered together: no more than the memory holds."""
    room = max(1, mesh.memory_bytes() // max(4 * model.bytes_an_image, 1))
    if room < batch:
        print(
            f"note: {room} at a time, not --batch={batch}: one takes "
            f"{model.bytes_an_image / 1e9:.3g} GB or more"
        )
    return min(batch, room)


def ready_cases(
    model: bundle.Bundle,
    hints: ImageHints,
    paths: Iterable[tuple[Path, str]],
    bad: list[tuple[str, str]],
) -> Iterator[PreparedImage]:
    """Every image of every file; what cannot be read goes to `bad`."""
    for path, name in paths:
        try:
            yield from model.predictor.output.prepare.read(
                path, model.predictor, model.spec, case_id=name, hints=hints
            )
        except UserError as e:
            complaint = str(e).removeprefix(f"{path}: ").removeprefix(f"{name}: ")
            bad.append((name, complaint))


def chunks(ready: Iterator[PreparedImage], *, size: int) -> Iterator[list[PreparedImage]]:
    """So many in a row, of one shape each."""
    part: list[PreparedImage] = []
    for image in ready:
        if part and (len(part) == size or image.image.shape != part[0].image.shape):
            yield part
            part = []
        part.append(image)
    if part:
        yield part


class Writer:
    """Writes answers into files that appear whole, when all is done; `failed` are the pictures and
    lists that could not be written, and why."""

    def __init__(self, output: Path, *, overlays: int):
        self.count, self.overlays, self._output = 0, overlays, output
        self.failed: list[tuple[str, str]] = []
        self._names = Names()
        self._tables: dict[str, list[Json]] = {"predictions.csv": []}

    def write(self, ready: PreparedImage, answer: Answer) -> None:
        self._tables["predictions.csv"] += answer.rows()
        name = self._names.name_of(answer.case_id)
        for table, rows in answer.further_rows().items():
            self._tables.setdefault(table, []).extend(rows)
        for (folder, suffix), write in answer.files().items():
            self._try(answer.case_id, write, folder, f"{name}{suffix}")
        if self.count < self.overlays:
            self._try(
                answer.case_id,
                lambda path: answer.draw(path, ready.image),
                "overlays",
                f"{name}.png",
            )
        self.count += 1

    def _try(self, case: str, write: Callable[[Path], None], folder: str, name: str) -> None:
        """No picture is worth the answers of all."""
        try:
            (self._output / folder).mkdir(exist_ok=True)
            write(self._output / folder / name)
        except Exception as e:
            self.failed.append((case, first_line(e)))

    def show(self) -> None:
        """The first rows of what is written."""
        rows = self._tables["predictions.csv"][:_SHOWN_ROWS]
        columns = list(rows[0])[:_SHOWN_COLUMNS] if rows else []
        shown = [
            [f"{row[c]:.3f}" if isinstance(row[c], float) else str(row[c]) for c in columns]
            for row in rows
        ]
        if rows:
            count = len(self._tables["predictions.csv"])
            report.show(
                f"predictions.csv, {len(rows)} of {walk.counted(count, 'row')}", columns, shown
            )

    def close(self) -> None:
        for name, rows in self._tables.items():
            if rows:
                write_table(self._output / name, list(rows[0]), (list(r.values()) for r in rows))

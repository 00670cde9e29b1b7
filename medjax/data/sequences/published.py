"""Published sets of sequences, in the layouts that they have."""

import functools
from pathlib import Path

import numpy as np

from medjax.data import splits, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.sequence_options import SequenceOptions
from medjax.data.sequences import files
from medjax.data.sequences.case import (
    Clip,
    SequenceCase,
    SequenceSet,
    milliseconds,
    read_key_values,
    whole_number,
)
from medjax.errors import UserError

EVENTS = ("ED", "ES")


def sunnybrook_cine(options: SequenceOptions) -> SequenceSet:
    """Short-axis cine MR; ED and ES of a patient hold for all slices that have a contour.

    Leave one patient out: `--published_fold` (from 1) is the patient of the test split, the next
    one that of validation.
    """
    root = table.root_of(options)
    rows = table.read_rows(root / "patients.csv")
    if options.published_fold > len(rows):
        raise UserError(
            f"`published_fold={options.published_fold}`: {root} has {len(rows)} patients, of which "
            "each is left out in one fold, 1 to that many"
        )
    test = options.published_fold - 1
    cases = []
    for i, row in enumerate(rows):
        origin, path = row.origin, root / f"{row['patient']}.nii.gz"
        length, _ = files.count(path)
        marks = {
            name: [whole_number(row[f"{name.lower()}_index"], origin=origin)] for name in EVENTS
        }
        split = "test" if i == test else "validation" if i == (test + 1) % len(rows) else "train"
        cases += [
            SequenceCase(
                functools.partial(files.read, path, plane=int(z)),
                length,
                origin,
                f"{row['patient']}:{z}",
                row["patient"],
                split,
                marks,
                milliseconds(row["frame_ms"], origin=origin),
            )
            for z in row["contoured_slices"].split()
        ]
    info = DatasetInfo(
        "sunnybrook_cine",
        subjects=f"patients, {len(rows)}",
        frames=EVENTS,
        cyclic=True,
        modality="cine MR, short axis",
        licence="CC0",
        citation="Radau et al., Evaluation framework for algorithms segmenting "
        "short axis cardiac MRI. The MIDAS Journal, 2009.",
    )
    return SequenceSet(info, cases, (64, 64), 2.0)


def acdc(options: SequenceOptions) -> SequenceSet:
    """ACDC: `training/patientNNN/patientNNN_4d.nii.gz` with `Info.cfg`, whose frames count from 1.

    Every slice is a case. Patients in a folder `testing` are the test split.
    """
    root, cases = table.root_of(options), []
    for path in walk.find(root, lambda p: p.match("patient*_4d.nii.gz")).files:
        config = path.parent / "Info.cfg"
        facts = read_key_values(config)
        for name in EVENTS:
            if name not in facts:
                raise UserError(f"{config}: has no line {name!r}")
        marks = {n: [whole_number(facts[n], origin=str(config)) - 1] for n in EVENTS}
        length, planes = files.count(path)
        split = "test" if "testing" in path.relative_to(root).parts else None
        cases += [
            SequenceCase(
                functools.partial(files.read, path, plane=z),
                length,
                str(config),
                f"{path.parent.name}:{z}",
                path.parent.name,
                split,
                marks,
                metadata={"group": facts.get("Group", "")},
            )
            for z in range(planes)
        ]
    if not cases:
        raise UserError(f"`data_dir={root}`: no patientNNN/patientNNN_4d.nii.gz below it")
    info = DatasetInfo(
        "acdc",
        subjects=f"patients, {len({c.subject for c in cases})}",
        frames=EVENTS,
        cyclic=True,
        modality="cine MR, short axis",
        citation="Bernard et al., Deep learning techniques for automatic MRI cardiac "
        "multi-structures segmentation and diagnosis. IEEE TMI 37:2514-2525, 2018.",
    )
    return SequenceSet(info, _rest_is_training(cases), (64, 64), 2.0)


def _rest_is_training(cases: list[SequenceCase]) -> list[SequenceCase]:
    """Where some cases are of the test split, all others are of train."""
    if any(case.split for case in cases):
        return [case._replace(split=case.split or "train") for case in cases]
    return cases


def echonet_dynamic(options: SequenceOptions) -> SequenceSet:
    """EchoNet-Dynamic: `FileList.csv`, `VolumeTracings.csv` and `Videos/`.

    The two traced frames are ED, the larger left ventricle, and ES. A video shows several beats of
    which one is traced, so a case is cut out of it: from ED to ES with up to as many frames before
    and behind, drawn from the name of the video.
    """
    root = table.root_of(options)
    traced = _traced_areas(root / "VolumeTracings.csv")
    cases, untraced = [], []
    for row in table.read_rows(root / "FileList.csv"):
        origin, name = row.origin, row["FileName"].removesuffix(".avi")
        areas = traced.get(name, {})
        if not areas:  # as of a few that were published; their authors leave them out too
            untraced.append(name)
            continue
        if len(areas) != 2:
            raise UserError(
                f"{origin}: {name} has {len(areas)} traced frames in "
                "VolumeTracings.csv where there should be two"
            )
        es, ed = sorted(areas, key=lambda frame: areas[frame])
        length = whole_number(row["NumberOfFrames"], origin=origin)
        first, last = _cut(name, ed, es, length)
        path = root / "Videos" / f"{name}.avi"
        rate = table.positive(row.get("FPS"), origin=origin, what="frames a second")
        cases.append(
            SequenceCase(
                functools.partial(_part, path, first, last),
                last - first,
                origin,
                name,
                name,
                splits.split_name(row["Split"], origin=origin),
                {"ED": [ed - first], "ES": [es - first]},
                1e3 / rate if rate else None,
                {"first_frame": str(first), "EF": row.get("EF", "")},
            )
        )
    info = DatasetInfo(
        "echonet_dynamic",
        subjects=f"patients, {len(cases)}",
        frames=EVENTS,
        modality="ultrasound, apical four-chamber view",
        licence="Stanford University Dataset Research Use Agreement",
        citation="Ouyang et al., Video-based AI for beat-to-beat assessment of cardiac function. "
        "Nature 580:252-256, 2020.",
    )
    if not cases:
        raise UserError(
            f"`data_dir={root}`: VolumeTracings.csv has no tracing of a video that "
            "FileList.csv names"
        )
    notes = walk.note_of(untraced, "video", "left out without a tracing")
    return SequenceSet(info, cases, (112, 112), notes=tuple(notes))


def _traced_areas(path: Path) -> dict[str, dict[int, float]]:
    """The area of each traced frame of each video, pixels squared.

    A tracing is the long axis, X1 Y1 to X2 Y2, and then chords across it, from apex to base.
    """
    lines: dict[str, dict[int, list]] = {}
    for row in table.read_rows(path):
        try:
            frame, chord = int(row["Frame"]), [float(row[k]) for k in ("X1", "Y1", "X2", "Y2")]
        except (KeyError, ValueError) as e:
            raise UserError(f"{row.origin}: no tracing ({e})") from None
        name = row["FileName"].removesuffix(".avi")
        lines.setdefault(name, {}).setdefault(frame, []).append(chord)
    return {
        name: {frame: _area(np.array(chords)) for frame, chords in frames.items()}
        for name, frames in lines.items()
    }


def _area(chords: np.ndarray) -> float:
    """Of the polygon through one end of all chords and back through the other: `[n, 4]`."""
    outline = np.concatenate([chords[1:, :2], chords[1:, 2:][::-1]])
    x, y = outline.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _cut(name: str, ed: int, es: int, length: int) -> tuple[int, int]:
    """The first frame of a case, and the one behind its last."""
    rng = np.random.default_rng(list(name.encode()))
    before, behind = rng.integers(1, abs(ed - es) + 1, 2)
    return max(0, min(ed, es) - int(before)), min(length, max(ed, es) + int(behind) + 1)


def _part(path: Path, first: int, last: int) -> Clip:
    clip = files.read(path)
    if len(clip.frames) < last:
        raise UserError(
            f"{path}: has {len(clip.frames)} frames where FileList.csv says {last} or more"
        )
    return clip._replace(frames=clip.frames[first:last])

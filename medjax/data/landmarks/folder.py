"""One's own images with landmarks."""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from medjax.data import geometry, images, landmark_table, placing, slicer, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import (
    LandmarkCase,
    LandmarkSet,
    from_file,
    from_lists,
)
from medjax.data.metadata import Metadata, columns_of, facts_of_rows, join_facts
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError

Item = TypeVar("Item")
_RARE_SHARE = 0.5  # of the images: names that fewer have are told of
_ALIKE = 0.85  # of two names, from which one may be a misspelling of the other


def landmark_folder(options: LandmarkOptions) -> LandmarkSet:
    """One's own images: `landmarks.csv`, or a `.mrk.json` or `.fcsv` beside each image.

    A `metadata.csv` may give split, subject and spacing where `landmarks.csv` does not.
    """
    root = table.root_of(options)
    cases, known_by, notes = find_cases(options)
    names = name_landmarks(cases)
    notes = [*notes, *_note_rare(cases, names)]
    info = DatasetInfo(root.resolve().name, landmarks=names, mirrored=pairs_of(names))
    case, first = _first_of(cases, lambda case: case.read(), options)
    return LandmarkSet(info, cases, _shape_of(case, first), 0.0, known_by, tuple(notes))


def find_cases(options: LandmarkOptions) -> tuple[list[LandmarkCase], str, list[str]]:
    """The images that have landmarks, how their subjects are known, and notes.

    Raises:
      UserError: if there are none.
    """
    root, path = table.root_of(options), table.path_of(options, "landmarks.csv")
    made = _from_table(path, options) if path.exists() else from_lists(root, options)
    if not made[0]:
        raise UserError(
            f"`data_dir={root}`: neither landmarks.csv, nor images with "
            f"{' or '.join(slicer.SUFFIXES)} beside them"
        )
    return made


def name_landmarks(cases: Sequence[LandmarkCase]) -> tuple[str, ...]:
    """The names of the landmarks, in the order that they come in; raises UserError for two that
    differ by case alone."""
    names = tuple(dict.fromkeys(name for case in cases for name in case.points))
    table.check_alike(names, what="landmarks")
    return names


def _note_rare(cases: Sequence[LandmarkCase], names: Sequence[str]) -> list[str]:
    """Of names that few images have: they may be spelled otherwise in the others."""
    notes = []
    for name in names:
        having = [case.origin for case in cases if name in case.points]
        if len(having) < _RARE_SHARE * len(cases):
            _check_spelling(name, cases, names)
            where = Path(having[0]).name
            notes.append(
                f"the landmark {name!r} is in {len(having)} of {len(cases)} images alone, as in "
                f"{where}: is it spelled otherwise in the others?"
            )
    return notes


def _check_spelling(name: str, cases: Sequence[LandmarkCase], names: Sequence[str]) -> None:
    """Raises UserError if a rare name looks like a frequent one that is missing wherever it is:
    another number or side makes another landmark."""
    having = [case for case in cases if name in case.points]
    others = [
        other
        for other in names
        if other != name
        and re.findall(r"\d+", other) == re.findall(r"\d+", name)
        and partner_of(other) != name
        and sum(other in case.points for case in cases) >= _RARE_SHARE * len(cases)
        and not any(other in case.points for case in having)
    ]
    near = [other for other in others if sorted(other.casefold()) == sorted(name.casefold())]
    near = near or difflib.get_close_matches(name, others, n=1, cutoff=_ALIKE)
    if near:
        raise UserError(
            f"{having[0].origin}: has a landmark {name!r}, and no {near[0]!r} as most others have: "
            "if it is misspelt, rename it in its list; if not, give it a name that is less alike"
        )


def _first_of(
    items: Iterable[Item], read: Callable[[Item], images.RawImage], options: LandmarkOptions
) -> tuple[Item, images.RawImage]:
    """The first item whose image can be read, where others may be left out."""
    failed = None
    for item in items:
        try:
            return item, read(item)
        except UserError as e:
            failed = failed or e
            if not options.skip_bad:
                break
    raise failed or UserError(f"`data_dir={options.data_dir}`: no images found")


def _shape_of(case: LandmarkCase, first: images.RawImage) -> tuple[int, ...]:
    """What holds an image whole, in sides that divide by 16."""
    world = placing.world_of(first, spacing_mm=case.spacing_mm, origin=case.origin)
    size, extent = geometry.spacing_mm(world), np.array(first.pixels.shape[:-1])
    if first.affine is not None and first.pixels.ndim == 4:
        turned, back = geometry.canonical(first.pixels, first.affine)
        size, extent = np.abs(back[:-1, :-1]).T @ size, np.array(turned.shape[:-1])
    return tuple(int(math.ceil(n / 16) * 16) for n in extent * size / size.min())


_SIDES = dict(
    pair
    for a, b in (
        ("left", "right"),
        ("Left", "Right"),
        ("LEFT", "RIGHT"),
        ("L", "R"),
        ("l", "r"),
        ("lt", "rt"),
        ("Lt", "Rt"),
    )
    for pair in ((a, b), (b, a))
)


def _words(name: str) -> list[str]:
    """`LeftEye_2` as Left, Eye, _, 2."""
    return re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z\d]+|[A-Z]", name)


def partner_of(name: str) -> str:
    """The name on the other side; empty for a name without a side."""
    words = _words(name)
    at = next((i for i, word in enumerate(words) if word in _SIDES), None)
    return "" if at is None else "".join([*words[:at], _SIDES[words[at]], *words[at + 1 :]])


def pairs_of(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The names that differ by left and right alone: they change places in a mirror image."""
    pairs = {tuple(sorted((name, partner_of(name)))) for name in names if partner_of(name) in names}
    return tuple((a, b) for a, b in sorted(pairs))


def unpaired(names: Sequence[str]) -> list[str]:
    """The names that say left or right, and lack a partner that says the other."""
    return [name for name in names if partner_of(name) and partner_of(name) not in names]


def check_mirror(info: DatasetInfo) -> None:
    """Raises UserError if a landmark has a side, but no partner on the other."""
    paired = sum(info.mirrored, ())
    alone = [name for name in unpaired(info.landmarks) if name not in paired]
    if alone:
        raise UserError(
            f"`flip`: the landmark {alone[0]!r} has a side, but no partner on the other: a mirror "
            "image would call it wrong; name both sides alike, or leave `flip` out"
        )


def _from_table(path: Path, options: LandmarkOptions) -> tuple[list[LandmarkCase], str, list[str]]:
    root = path.parent
    files = table.FileIndex(root, options, suffixes=images.SUFFIXES, what="image")
    rows = table.read_rows(path)
    key = landmark_table.image_column(path, rows[0], options.path_column)
    there = (file for row in rows if (file := files.find_if_there(row[key], origin=row.origin)))
    _, sample = _first_of(
        there, lambda file: images.read(file, limit_bytes=options.limit_bytes), options
    )
    entries = landmark_table.read(
        path,
        path_column=options.path_column,
        name_column=options.name_column,
        coordinates=options.coordinates,
        ndim=sample.pixels.ndim - 1,
    )
    more = Metadata(root, options, other=rows[0])
    columns = columns_of(path, rows, options, other=more.header)
    cases = []
    for image, entry in entries.items():
        file = files.find_if_there(image, origin=entry.row.origin)
        if file is None:
            continue
        facts = join_facts(
            facts_of_rows(entry.rows, columns, image=image),
            more.describe_image(file),
            entry.row.origin,
        )
        cases.append(
            from_file(
                root,
                file,
                points=entry.points,
                system=entry.system,
                limit_bytes=options.limit_bytes,
                **facts,
            )
        )
    notes = [
        *files.notes(path),
        *table.note_unnamed(
            path, walk.find(root, images.is_image).files, [case.path for case in cases if case.path]
        ),
    ]
    known = f"column {columns.subject} of {path.name}" if columns.subject else more.known_by()
    return cases, known, [*notes, *more.notes()]

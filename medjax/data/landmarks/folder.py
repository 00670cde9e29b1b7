"""One's own images with landmarks."""

import math
from pathlib import Path

import numpy as np

from medjax.data import geometry, images, landmark_table, slicer, splits
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import (
    Case,
    LandmarkSet,
    find_image,
    from_file,
    from_lists,
    read_metadata,
    root_of,
)
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError


def landmark_folder(options: LandmarkOptions) -> LandmarkSet:
    """One's own images: `landmarks.csv`, or a `.mrk.json` or `.fcsv` beside each image.

    A `metadata.csv` may give split, subject and spacing where `landmarks.csv` does not.
    """
    root = root_of(options)
    table = root / "landmarks.csv"
    cases = _from_table(table, options) if table.exists() else from_lists(root, options)
    if not cases:
        raise UserError(f"--data_dir={root}: neither landmarks.csv, nor images with "
                        f"{' or '.join(slicer.SUFFIXES)} beside them")
    first = cases[0].read()
    size = np.array(first.spacing_mm or (cases[0].spacing_mm or 1.0,) * (first.pixels.ndim - 1))
    extent = np.array(first.pixels.shape[:-1])
    if first.affine is not None:
        turned, back = geometry.canonical(first.pixels, first.affine)
        size, extent = np.abs(back[:-1, :-1]).T @ size, np.array(turned.shape[:-1])
    shape = tuple(int(math.ceil(n / 16) * 16) for n in extent * size / size.min())
    names = tuple(dict.fromkeys(name for case in cases for name in case.points))
    return LandmarkSet(DatasetInfo(root.resolve().name, landmarks=names), cases, shape, 0.0)


def _from_table(table: Path, options: LandmarkOptions) -> list[Case]:
    root = table.parent
    first = landmark_table.read_rows(table)[0]
    guess = next((first[c] for c in (options.path_column, *landmark_table.PATHS) if c in first), "")
    sample = images.read(find_image(root, options, guess, f"{table}, line 2"))
    entries = landmark_table.read(
        table, path_column=options.path_column, name_column=options.name_column,
        coordinates=options.coordinates, ndim=sample.pixels.ndim - 1)
    more = read_metadata(root, options)
    cases = []
    for image, entry in entries.items():
        origin = f"{table}, line {entry.line}"
        row = {**entry.row, **more.get(image, {})}
        split = row.get(options.split_column) or None
        cases.append(from_file(
            root, find_image(root, options, image, origin), points=entry.points,
            system=entry.system,
            subject=row.get(options.subject_column, ""),
            split=splits.split_name(split, origin=origin) if split else None,
            spacing_mm=_spacing(row.get(options.spacing_column, ""), origin)))
    return cases



def _spacing(text: str, origin: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{origin}: the spacing {text!r} is no positive number of mm")
    return value

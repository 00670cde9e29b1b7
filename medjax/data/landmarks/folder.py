"""One's own images with landmarks."""

import math
from pathlib import Path

import numpy as np

from medjax.data import geometry, images, landmark_table, slicer, table
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import (
    Case,
    LandmarkSet,
    find_image,
    from_file,
    from_lists,
    read_metadata,
    said_of,
)
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError


def landmark_folder(options: LandmarkOptions) -> LandmarkSet:
    """One's own images: `landmarks.csv`, or a `.mrk.json` or `.fcsv` beside each image.

    A `metadata.csv` may give split, subject and spacing where `landmarks.csv` does not.
    """
    root = table.root_of(options)
    path = root / "landmarks.csv"
    cases = _from_table(path, options) if path.exists() else from_lists(root, options)
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


def _from_table(path: Path, options: LandmarkOptions) -> list[Case]:
    root = path.parent
    first = table.read_rows(path)[0]
    name = first[landmark_table.image_column(path, first, options.path_column)]
    sample = images.read(find_image(root, options, name, f"{path}, line 2"))
    entries = landmark_table.read(
        path, path_column=options.path_column, name_column=options.name_column,
        coordinates=options.coordinates, ndim=sample.pixels.ndim - 1)
    more = read_metadata(root, options)
    cases = []
    for image, entry in entries.items():
        origin = f"{path}, line {entry.line}"
        cases.append(from_file(
            root, find_image(root, options, image, origin), points=entry.points,
            system=entry.system,
            **said_of({**entry.row, **more.get(image, {})}, options, origin=origin)))
    return cases

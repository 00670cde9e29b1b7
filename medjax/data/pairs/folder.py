"""One's own images, registered in pairs."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medjax.data import geometry, images, placing, slicer, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import LandmarkCase, index_of
from medjax.data.landmarks.folder import find_cases, name_landmarks
from medjax.data.masks import channels
from medjax.data.masks.case import MaskCase, MaskSet, from_files
from medjax.data.masks.folder import find_structures, pair_files
from medjax.data.metadata import Metadata
from medjax.data.options import LandmarkOptions, as_kind
from medjax.data.pair_options import ALL, ATLAS, CONSECUTIVE, PairOptions
from medjax.data.pairs.case import ALL_PAIRS, PairSet, check_pairs, without_mask
from medjax.errors import UserError

TABLE = "pairs.csv"


def image_pairs(options: PairOptions) -> PairSet:
    """Images below a folder, with masks where there are any: all pairs, those of a table,
    consecutive ones, or each with an atlas."""
    root = table.root_of(options)
    pairing = pair_files(root)
    more = Metadata(root, options)
    masked = dict(pairing.pairs)
    files = walk.in_order([*masked, *channels.leave_first(pairing.images)])
    cases = [_case(root, path, masked.get(path), more, options) for path in files]
    if len(cases) < 2:
        raise UserError(f"`data_dir={root}`: {walk.counted(len(cases), 'image')}; a pair needs two")
    notes = [*more.notes(), *walk.note_unread(walk.find(root, images.is_image))]
    alone = [path.relative_to(root).as_posix() for path in pairing.masks]
    notes += walk.note_of(alone, "mask", "without an image left out")
    if masked and pairing.images:
        without = [path.relative_to(root).as_posix() for path in pairing.images]
        notes += walk.note_of(without, "image", "without a mask: overlaps are not measured there")
    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    if masked:
        marked = [case for case, path in zip(cases, files, strict=True) if path in masked]
        names, values = find_structures(root, marked, options)
    marks, points = read_points(root, options)
    outside = [case for case, places in points.items() if np.isinf(places).any()]
    points = {case: np.where(np.isinf(p), np.nan, p) for case, p in points.items()}
    notes += walk.note_of(outside, "image", "with landmarks outside it, taken as missing")
    info = DatasetInfo(root.resolve().name, structures=names, landmarks=marks)
    text, moving = pair_cases(cases, root, options)
    masks = MaskSet(info, cases, values, more.known_by(), tuple(notes))
    return PairSet(masks, text, moving, points)


def read_points(root: Path, options: PairOptions) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the landmarks that are marked in images of a folder, and by case their positions
    `[n, ndim]` in indices of the file's array; NaN is missing, infinity outside the image. Nothing
    where none are."""
    lists = walk.find(root, slicer.is_list).files
    if not (root / "landmarks.csv").exists() and not lists:
        return (), {}
    of_folder = dataclasses.replace(options, data_dir=str(root))  # which may be a table of pairs
    cases, *_ = find_cases(as_kind(of_folder, LandmarkOptions))
    names = name_landmarks(cases)
    points = {}
    for case in cases:
        with contextlib.suppress(*[UserError] * options.skip_bad):  # it is left out, and said to be
            points[case.case_id] = _to_indices(case, names)
    return names, points


def _to_indices(case: LandmarkCase, names: Sequence[str]) -> np.ndarray:
    raw_image = case.read()
    world = np.eye(raw_image.pixels.ndim)
    if case.system not in ("voxel", "pixel"):
        world = placing.world_of(raw_image, spacing_mm=case.spacing_mm, origin=case.origin)
    places = np.array([index_of(case.points.get(n), case, raw_image, world) for n in names])
    is_inside = geometry.inside(places, raw_image.pixels.shape[:-1])[:, None]
    return np.where(is_inside | np.isnan(places), places, np.inf)


def _case(
    root: Path, image: Path, mask: Path | None, more: Metadata, options: PairOptions
) -> MaskCase:
    case = from_files(
        root,
        image,
        mask or image,
        limit_bytes=options.limit_bytes,
        series=options.series,
        **more.describe_image(image),
    )
    return case if mask else without_mask(case)


def pair_cases(
    cases: Sequence[MaskCase], root: Path, options: PairOptions
) -> tuple[str, dict[str, list[str]]]:
    """How cases are paired, in words, and the moving ones of each fixed one; all with all needs
    none.

    Raises:
      UserError: for a table or an atlas that does not fit.
    """
    names = [case.case_id for case in cases]
    path = Path(options.pairs) if options.pairs else table.path_of(options, TABLE)
    if options.pairs == ATLAS:
        atlas = find_case(options.atlas, names, origin="`atlas`")
        return f"all to {atlas}", {name: [atlas] for name in names if name != atlas}
    if options.pairs == CONSECUTIVE:
        return "consecutive images", {a: [b] for a, b in itertools.pairwise(names)}
    if options.pairs == ALL or not path.is_file():
        return ALL_PAIRS, {}
    moving = read_pairs(path, names)
    check_pairs(moving, cases)
    return f"by {path.name}", moving


def read_pairs(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The pairs of a table, by their fixed image.

    Raises:
      UserError: for one that has no such columns, or names an image that is not there.
    """
    rows = table.read_rows(path)
    fixed, moving = (
        table.column(path, rows[0], wish="", usual=(name,), what=f"{name} images", option="pairs")
        for name in ("fixed", "moving")
    )
    find = functools.lru_cache(maxsize=None)(
        lambda name, origin: find_case(name, names, origin=origin)
    )
    out: dict[str, list[str]] = {}
    for row in rows:
        others = out.setdefault(find(row[fixed], row.origin), [])
        other = find(row[moving], row.origin)
        if other in others:
            raise UserError(f"{row.origin}: this pair stands in the table twice")
        others.append(other)
    return out


def _without_suffix(name: str) -> str:
    """A path without the suffix of an image, where it has one."""
    path = Path(name)
    return (path.parent / images.stem(path)).as_posix()


def find_case(name: str, names: Sequence[str], *, origin: str) -> str:
    """The case that a name means: its path, or the end of it, with a suffix or without.

    Raises:
      UserError: if none does, or several do.
    """
    if name in names:
        return name
    stem = _without_suffix(name)
    fits = [case for case in names if f"/{_without_suffix(case)}".endswith(f"/{stem}")]
    if len(fits) == 1:
        return fits[0]
    several = f"{walk.such_as(fits)} fit" if fits else "no image of the set is called so"
    raise UserError(f"{origin}: {name!r}: {several}; give its path below the folder")

"""One's own images with masks: paired by a table, by folders, by name, or by `dataset.json`."""

import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data import images, table, walk
from medjax.data.info import DatasetInfo
from medjax.data.masks import channels
from medjax.data.masks.case import BACKGROUND, MaskCase, MaskSet, check_values, from_files
from medjax.data.masks.instances import one_structure
from medjax.data.metadata import Metadata, columns_of, facts_of_rows, join_facts
from medjax.data.options import MaskOptions
from medjax.errors import UserError

IMAGE_FOLDERS = ("images", "image", "imagesTr", "img", "imgs")
MASK_FOLDERS = ("labels", "masks", "labelsTr", "label", "mask", "annotations", "segmentations")
MASK_ENDINGS = ("_mask", "_seg", "_label", "_labels", "-mask", "-seg", "-label", "_segmentation")
TABLE = "masks.csv"
_IMAGE_COLUMNS = ("image", "path", "file", "filename")
_MASK_COLUMNS = ("mask", "label", "segmentation", "seg")
_MOST_READ = 20  # masks that are read to learn which values there are


class Pair(NamedTuple):
    """The files of an image and of its mask."""

    image: Path
    mask: Path


class Pairing(NamedTuple):
    """Pairs, and what has no partner.

    Attributes:
      images, masks: those without the other.
    """

    pairs: list[Pair]
    images: list[Path]
    masks: list[Path]


def mask_folder(options: MaskOptions) -> MaskSet:
    """One's own images, each with a mask.

    A `metadata.csv` may give split, subject and spacing. Values of the masks are named by
    `dataset.json` (Medical Segmentation Decathlon, nnU-Net) or by `structures`.
    """
    root = table.root_of(options)
    path = table.path_of(options, TABLE)
    if path.exists():
        cases, known_by, notes = _from_table(path, options)
    else:
        cases, known_by, notes = _from_files(root, options)
    if not cases:
        raise UserError(f"`data_dir={root}`: no image with a mask; {WANTED}")
    things = options.instances
    names, values = (
        one_structure(options.structures) if things else find_structures(root, cases, options)
    )
    info = DatasetInfo(root.resolve().name, structures=names, instances=things)
    return MaskSet(info, cases, values, known_by, tuple(notes))


WANTED = (
    "looked for masks.csv with the columns image and mask, folders images/ and labels/ (or masks/, "
    "imagesTr/ and labelsTr/) with the same names, or NAME and NAME_mask beside one another"
)


def looks_like(root: Path) -> bool:
    """Whether a folder holds images with masks."""
    folders = _folders(root)
    if (root / TABLE).exists() or (folders and walk.find(folders[1], images.is_image).files):
        return True
    return bool(_same_folder(walk.find(root, images.is_image).files).pairs)


def is_mask(path: Path) -> bool:
    """Whether a file is a mask by its name, or by that of its folder beside one of images."""
    near = path.parent.parent
    among = path.parent.name in MASK_FOLDERS and any((near / n).is_dir() for n in IMAGE_FOLDERS)
    return among or images.stem(path).endswith(MASK_ENDINGS)


def _folders(root: Path) -> tuple[Path, Path] | None:
    """Those of images and of masks, where there are two such."""
    some = (
        next((root / n for n in names if (root / n).is_dir()), None)
        for names in (IMAGE_FOLDERS, MASK_FOLDERS)
    )
    first, second = some
    return (first, second) if first and second else None


def pair_files(root: Path) -> Pairing:
    """Images and masks below a folder, by their names."""
    folders = _folders(root)
    return _between(*folders) if folders else _same_folder(walk.find(root, images.is_image).files)


def _from_files(root: Path, options: MaskOptions) -> tuple[list[MaskCase], str, list[str]]:
    pairing = pair_files(root)
    notes = _partners(pairing, root, options)
    more = Metadata(root, options)
    cases = [
        from_files(
            root,
            pair.image,
            pair.mask,
            limit_bytes=options.limit_bytes,
            series=options.series,
            **more.describe_image(pair.image),
        )
        for pair in pairing.pairs
    ]
    unread = walk.note_unread(walk.find(root, images.is_image))
    return cases, more.known_by(), [*notes, *unread, *more.notes()]


def _between(image_folder: Path, mask_folder: Path) -> Pairing:
    """Of two folders, by names: the mask has that of its image, with an ending of masks or without;
    of nnU-Net's images without the number of the channel; of a DICOM series that of its folder."""
    masks = _by_key(
        (_key(p, mask_folder), p) for p in walk.find(mask_folder, images.is_image).files
    )
    all_files = walk.find(image_folder, images.is_image).files
    files = channels.leave_first(all_files)
    further = sorted(set(all_files) - set(files))
    own = next((p for p in further if _key(p, image_folder) in masks), None)
    if own is not None:
        raise UserError(
            f"{own}: its name is that of a further channel of {channels.first_of(own).name}, and "
            "it has a mask of its own; images of one channel must not end in _0000, _0001, ..."
        )
    paths = dict.fromkeys(_series_of(p, image_folder, masks) or p for p in files)
    return _paired([(p, _key(p, image_folder)) for p in paths], masks)


def _by_key(masks: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Masks by the name of their image; raises UserError for two of one image."""
    out: dict[str, Path] = {}
    for key, path in masks:
        first = out.setdefault(key, path)
        if first != path:
            raise UserError(
                f"{path}: {first.name} is a mask of the same image; leave one of them in the "
                "folder, or name the masks in masks.csv"
            )
    return out


def _series_of(path: Path, image_folder: Path, masks: Mapping[str, Path]) -> Path | None:
    """The folder of DICOM slices that a file is one of: one that a mask is named after."""
    if not images.is_dicom(path):
        return None
    above = itertools.takewhile(lambda folder: folder != image_folder, path.parents)
    return next((f for f in above if f.relative_to(image_folder).as_posix() in masks), None)


def _same_folder(files: Sequence[Path]) -> Pairing:
    """Of one folder: `NAME` and `NAME_mask`."""
    masks = _by_key(
        (str(p.with_name(images.stem(p).removesuffix(end))), p)
        for p in files
        for end in MASK_ENDINGS
        if images.stem(p).endswith(end)
    )
    of_masks = set(masks.values())
    others = [(p, str(p.with_name(images.stem(p)))) for p in files if p not in of_masks]
    return _paired(others, masks)


def _paired(files: Sequence[tuple[Path, str]], masks: Mapping[str, Path]) -> Pairing:
    pairs, alone, used = [], [], set()
    for path, key in files:
        name = key if key in masks else key.removesuffix(channels.FIRST)
        if name not in masks:
            alone.append(path)
            continue
        if name in used:
            raise UserError(f"{path}: its mask {masks[name].name} is that of another image too")
        used.add(name)
        pairs.append(Pair(path, masks[name]))
    return Pairing(pairs, alone, [p for key, p in masks.items() if key not in used])


def _key(path: Path, folder: Path) -> str:
    stem = images.stem(path)
    for end in MASK_ENDINGS:
        stem = stem.removesuffix(end)
    return path.with_name(stem).relative_to(folder).as_posix()


def _partners(pairing: Pairing, root: Path, options: MaskOptions) -> list[str]:
    """Notes of what has no partner; raises UserError where nobody allowed it."""
    names = [
        [p.relative_to(root).as_posix() for p in some] for some in (pairing.images, pairing.masks)
    ]
    if pairing.masks:
        raise UserError(
            f"`data_dir={root}`: {walk.note_of(names[1], 'mask', 'without an image')[0]}; a mask "
            "has the name of its image"
        )
    if pairing.images and not options.unlabelled:
        raise UserError(
            f"`data_dir={root}`: {walk.note_of(names[0], 'image', 'without a mask')[0]}; a mask "
            "has the name of its image; `unlabelled=true` leaves such images out"
        )
    return walk.note_of(names[0], "image", "without a mask left out")


def _from_table(path: Path, options: MaskOptions) -> tuple[list[MaskCase], str, list[str]]:
    rows, root = table.read_rows(path), path.parent
    files = table.FileIndex(root, options, suffixes=images.SUFFIXES, what="image")
    image, mask = (
        table.column(path, rows[0], wish=wish, usual=usual, what=what, option=option)
        for wish, usual, what, option in (
            (options.path_column, _IMAGE_COLUMNS, "images", "path_column"),
            (options.mask_column, _MASK_COLUMNS, "masks", "mask_column"),
        )
    )
    more = Metadata(root, options, other=rows[0])
    columns = columns_of(path, rows, options, other=more.header)
    cases, without, named = [], [], []
    used: dict[str, str] = {}
    for row in rows:
        file = files.find(row[image], origin=row.origin)
        _note_use(used, row[image], row.origin)
        named.append(file)
        if not row[mask]:
            without.append(row[image])
            continue
        mask_file = files.find(row[mask], origin=row.origin)
        _note_use(used, row[mask], row.origin)
        named.append(mask_file)
        here = facts_of_rows([row], columns, image=row[image])
        facts = join_facts(here, more.describe_image(file), row.origin)
        cases.append(
            from_files(
                root,
                file,
                mask_file,
                limit_bytes=options.limit_bytes,
                series=options.series,
                **facts,
            )
        )
    if without and not options.unlabelled:
        raise UserError(
            f"{path}: {walk.note_of(without, 'image', 'without a mask')[0]}; `unlabelled=true` "
            "leaves such images out"
        )
    known = f"column {columns.subject} of {path.name}" if columns.subject else more.known_by()
    below = walk.find(root, images.is_image)
    others = [p for p in below.files if not is_mask(p)]
    unnamed = table.note_unnamed(path, channels.leave_first(others), named)
    alone = walk.note_of(without, "image", "without a mask left out")
    unread = walk.note_unread(below)
    return cases, known, [*alone, *unnamed, *unread, *more.notes()]


def _note_use(used: dict[str, str], name: str, origin: str) -> None:
    """Raises UserError for a file that stands in the table already; `FileIndex` allows it no other
    name."""
    if name in used:
        raise UserError(f"{origin}: {name} stands in {used[name]} too; name a file once")
    used[name] = origin


_MOST_UNNAMED = 50  # structures that are named by their numbers


def find_structures(
    root: Path, cases: Sequence[MaskCase], options: MaskOptions
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and values of what the masks show; raises UserError for those that cannot be kept."""
    names, values = _find_structures(root, cases, options)
    check_values(values, where=f"`data_dir={root}`")
    return names, values


def _find_structures(
    root: Path, cases: Sequence[MaskCase], options: MaskOptions
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if options.structures:
        return options.structures, tuple(range(1, len(options.structures) + 1))
    declared = _declared(root / "dataset.json")
    if declared:
        return tuple(declared), tuple(declared.values())
    values = _values_in(cases, skip_bad=options.skip_bad)
    if not values:
        raise UserError(
            f"`data_dir={root}`: the masks that were read are empty; name their values with "
            "`structures`"
        )
    if len(values) > _MOST_UNNAMED:
        raise UserError(
            f"`data_dir={root}`: the masks that were read have {len(values)} values. Do they "
            "number single things (`instances=true`)? Or are they JPEG, or smoothed? Structures of "
            "so many values are named in dataset.json"
        )
    if len(values) == 1:
        return ("foreground",), values
    if any(case.lossy_mask for case in cases):
        raise UserError(
            f"`data_dir={root}`: masks in JPEG, which blurs the borders of structures: they have "
            f"{len(values)} values; save them as PNG, or name the structures with `structures`"
        )
    return tuple(f"structure_{v}" for v in values), values


def _declared(path: Path) -> dict[str, int]:
    """Names and values of `dataset.json`: of the Decathlon `{"1": "name"}`, of nnU-Net `{"name":
    1}`."""
    if not path.exists():
        return {}
    try:
        labels: dict[str, Any] = read_facts(path)["labels"]
        named = {
            str(value) if key.isdigit() else key: int(key) if key.isdigit() else int(value)
            for key, value in labels.items()
            if not isinstance(value, list)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: its labels cannot be read ({e}); write name and number") from None
    return {name: value for name, value in named.items() if value != BACKGROUND}


def read_facts(path: Path) -> dict[str, Any]:
    """What a `dataset.json` says.

    Raises:
      UserError: if there is none, or it is no object of JSON.
    """
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `data_dir` is the folder of one task") from None
    except ValueError as e:
        raise UserError(f"{path}: is no JSON ({e})") from None
    if not isinstance(facts, dict):
        raise UserError(f"{path}: its labels cannot be read; write an object of JSON")
    return facts


def _values_in(cases: Sequence[MaskCase], *, skip_bad: bool) -> tuple[int, ...]:
    """The values in masks that are evenly spread over the set."""
    chosen = np.unique(np.linspace(0, len(cases) - 1, _MOST_READ).astype(int))
    there = [np.zeros(0, int)]
    for i in chosen:
        with contextlib.suppress(*[UserError] * skip_bad):  # it is counted when all are read
            values = np.unique(cases[i].read_mask().pixels)
            odd = values[values != np.rint(values)]
            if len(odd):
                raise UserError(
                    f"{cases[i].origin}: its mask has values that are not whole, such as "
                    f"{odd[0]:g}; resample masks by the nearest voxel"
                )
            there.append(values)
    values = np.unique(np.concatenate(there))
    return tuple(int(v) for v in values if v != BACKGROUND)

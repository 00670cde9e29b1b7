"""Which sets there are, by the options that they are read with. A new kind of set is one entry."""

import csv
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data import images, walk
from medjax.data.info import DatasetInfo
from medjax.data.medmnist_sets import LARGER, SETS
from medjax.data.options import BoxOptions, DataOptions, LandmarkOptions, MaskOptions, Options
from medjax.data.pair_options import PairOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.data.summaries import SUMMARIES
from medjax.errors import UserError, check_own_name

REGISTERED: dict[str, Callable[[], Any]] = {}  # sets of one's own: each makes a `Dataset`


class KnownSets(Collection[str]):
    """The names of the sets in which `labels`, `landmarks`, `masks` or `frames` are to be found,
    those that are registered later too; sets that differ in the size of images are listed once."""

    def __init__(self, finds: str):
        self._finds = finds

    def _names(self) -> list[str]:
        known = [name for name, summary in SUMMARIES.items() if self._finds in summary.finds]
        return ["", *(name for name in known if name not in LARGER), *REGISTERED]

    def __contains__(self, name: object) -> bool:
        return name in self._names() or (name in LARGER and "labels" in self._finds)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def register(name: str, make: Callable[[], Any]) -> None:
    """Makes a set of one's own known by name; `make` gives the `Dataset`.

    Raises:
      UserError: for a name or a function that cannot be.
    """
    check_own_name("dataset", name, taken=SUMMARIES)
    if not callable(make):
        raise UserError(f"dataset {name!r}: give a function that makes the Dataset")
    REGISTERED[name] = make


class SetKind(NamedTuple):
    """A kind of set.

    Attributes:
      builders: the classes that prepare sets, by name.
      folder_set: the set that is one's own files, in a folder.
      looks_like: whether a folder is such; wanted: what is looked for, in words.
    """

    builders: Callable[[], dict[str, Any]]
    folder_set: str
    looks_like: Callable[[Path], bool]
    wanted: str


def kind_of(options: Options) -> SetKind:
    """The kind of the sets that are read with these options."""
    return _KINDS[type(options)]


def infer(options: Options) -> str:
    """The set that the folder or file `data_dir` is, of those for one's own data.

    Raises:
      UserError: if nothing in it says so.
    """
    path, kind = Path(options.data_dir), kind_of(options)
    if not path.exists():
        near = difflib.get_close_matches(str(path), [*kind.builders(), *REGISTERED], n=1)
        hint = f"; did you mean the set {near[0]}?" if near else ""
        raise UserError(f"`data_dir={path}`: no such file or folder{hint}")
    names = {p.stem for p in ([path] if path.is_file() else path.glob("*.npz"))}
    known = sorted(names & set(kind.builders()))
    if len(known) == 1:
        return known[0]
    loose = getattr(options, "unlabelled", False) and _has_images(path)  # in no folder of a class
    if options.is_table or (path.is_dir() and (loose or kind.looks_like(path))):
        return kind.folder_set
    raise UserError(
        f"`data_dir={path}`: no set of this kind; looked for {kind.wanted}, or the .npz of a known "
        f"set; {_describe_folder(path)}add what is missing, or name the set with `dataset`; "
        "a trained network is used by `medjax predict`"
    )


def _describe_folder(path: Path) -> str:
    """What is there instead, where that is plain."""
    if path.is_file():
        return "this is one file: give the folder it lies in; "
    if not any(path.iterdir()):
        return "the folder is empty: "
    loose = sum(images.is_image(p) for p in path.iterdir() if p.is_file())
    return (
        f"there {'is' if loose == 1 else 'are'} {walk.counted(loose, 'image')} and none of these: "
        if loose
        else ""
    )


def is_named(options: Options) -> bool:
    """Whether `data_dir` is no folder, but the name of a set."""
    name = options.data_dir
    return name in {*kind_of(options).builders(), *REGISTERED} and not Path(name).exists()


def check_kind(options: Options, info: DatasetInfo) -> None:
    """Raises UserError unless a set has what sets that are read with these options have."""
    wanted = {
        DataOptions: "classes",
        LandmarkOptions: "landmarks",
        MaskOptions: "structures",
        BoxOptions: "box_classes",
        SequenceOptions: "frames",
        PairOptions: "pairing",
    }
    what = wanted[type(options)]
    if not (info.targets if what == "classes" else getattr(info, what)):
        raise UserError(
            f"the set {info.name} has no {what}; choose another set, or another command"
        )


def find_kind(path: Path) -> type[Options]:
    """The options of the kind of set that a folder, table or file is: the first that it looks like.

    Raises:
      UserError: if it is none; it says what was looked for.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".csv":
        with path.open(errors="replace", encoding="utf-8-sig", newline="") as f:
            header = {name.strip().lower() for name in next(csv.reader(f), [])}
        columns: list[tuple[type[Options], bool]] = [
            (SequenceOptions, {"name", "index"} <= header),
            (PairOptions, {"fixed", "moving"} <= header),
            (MaskOptions, "mask" in header),
            (BoxOptions, "xmin" in header),
            (LandmarkOptions, bool(header & {"x", "landmark", "point"})),
        ]
        return next((kind for kind, has in columns if has), DataOptions)
    for kind in (LandmarkOptions, SequenceOptions, MaskOptions, BoxOptions, DataOptions):
        if path.is_dir() and _KINDS[kind].looks_like(path):
            return kind
    if path.suffix == ".npz" or any(path.glob("*.npz")):
        return DataOptions
    wanted = "; ".join(kind.wanted for kind in _KINDS.values())
    raise UserError(f"{path}: no set of images; looked for {wanted}")


def _exams() -> dict[str, type]:
    from medjax.data.builders.brain_planes import BrainPlanes
    from medjax.data.builders.image_folder import ImageFolder
    from medjax.data.builders.medmnist import MedMNIST
    from medjax.data.builders.published_exams import BrixiaZones, PublishedExams

    tables = dict.fromkeys(("ham10000", "covid_cxr"), PublishedExams.READS)
    return {
        "brain_planes": BrainPlanes,
        "image_folder": ImageFolder,
        **_named(PublishedExams, tables),
        "brixia_cxr": BrixiaZones,
        **_named(MedMNIST, dict.fromkeys((*SETS, *LARGER), MedMNIST.READS)),
    }


def _landmarks() -> dict[str, type]:
    from medjax.data.builders.landmarks import Landmarks
    from medjax.data.landmarks import READS

    return _named(Landmarks, READS)


def _masks() -> dict[str, type]:
    from medjax.data.builders.masks import Masks
    from medjax.data.masks import READS

    return _named(Masks, READS)


def _has_masks(root: Path) -> bool:
    from medjax.data.masks.folder import looks_like

    return looks_like(root)


def _pairs() -> dict[str, type]:
    from medjax.data.builders.pairs import Pairs
    from medjax.data.pairs import READS

    return _named(Pairs, READS)


def _boxes() -> dict[str, type]:
    from medjax.data.boxes import READS
    from medjax.data.builders.boxes import Boxes

    return _named(Boxes, READS)


def _has_boxes(root: Path) -> bool:
    from medjax.data.boxes.folder import looks_like

    return looks_like(root)


def _sequences() -> dict[str, type]:
    from medjax.data.builders.sequences import Sequences
    from medjax.data.sequences import READS

    return _named(Sequences, READS)


def _named(kind: type, reads: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """A subclass a name: tensorflow-datasets reads the name from the class."""
    return {
        name: type(name, (kind,), {"name": name, "READS": options}, skip_registration=True)
        for name, options in reads.items()
    }


def _holds(*patterns: str) -> Callable[[Path], bool]:
    return lambda path: any(next(iter(path.glob(pattern)), None) for pattern in patterns)


def _has_images(root: Path) -> bool:
    """Whether there are images in it, or in folders below it."""
    return any(images.is_image(folder / n) for folder, names in walk.folders(root) for n in names)


def _has_lists(root: Path) -> bool:
    """Whether lists of points lie in it, or in folders below it."""
    lists = (".mrk.json", ".fcsv")
    return any(n.lower().endswith(lists) for _, names in walk.folders(root) for n in names)


def _has_classes(root: Path) -> bool:
    """Whether images lie in folders below it."""
    return any(
        images.is_image(folder / name)
        for folder, names in walk.folders(root)
        if folder != root
        for name in names
    )


_KINDS: dict[type[Options], SetKind] = {
    DataOptions: SetKind(
        _exams,
        "image_folder",
        lambda path: _holds("metadata.csv")(path) or _has_classes(path),
        "a folder of images for each class, or metadata.csv with the columns path and label",
    ),
    LandmarkOptions: SetKind(
        _landmarks,
        "landmark_folder",
        lambda path: _holds("landmarks.csv")(path) or _has_lists(path),
        "landmarks.csv, or .mrk.json or .fcsv of 3D Slicer beside the images",
    ),
    MaskOptions: SetKind(
        _masks,
        "mask_folder",
        _has_masks,
        "masks.csv with the columns image and mask, folders images/ and labels/, or NAME and "
        "NAME_mask beside one another",
    ),
    PairOptions: SetKind(
        _pairs,
        "image_pairs",
        lambda path: _holds("pairs.csv")(path) or _has_images(path),
        "images, with pairs.csv (columns fixed and moving) where not all are paired with all",
    ),
    BoxOptions: SetKind(
        _boxes,
        "box_folder",
        _has_boxes,
        "boxes.csv, or files of Pascal VOC, COCO or YOLO beside the images",
    ),
    SequenceOptions: SetKind(
        _sequences,
        "sequence_folder",
        _holds("frames.csv"),
        "frames.csv with the columns case, name and index",
    ),
}

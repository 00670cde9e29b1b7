"""Which sets there are, by the options that they are read with. A new kind of set is one entry."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medjax.data import images, walk
from medjax.data.options import DataOptions, LandmarkOptions, Options, SequenceOptions
from medjax.errors import UserError


class SetKind(NamedTuple):
    """A kind of set.

    Attributes:
      builders: the classes that prepare sets, by name.
      folder_set: the set that is one's own files, in a folder.
      looks_like: whether a folder is such.
    """

    builders: Callable[[], dict[str, Any]]
    folder_set: str
    looks_like: Callable[[Path], bool]


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
        raise UserError(f"`data_dir={path}`: no such file or folder")
    names = {p.stem for p in ([path] if path.is_file() else path.glob("*.npz"))}
    known = sorted(names & set(kind.builders()))
    if len(known) == 1:
        return known[0]
    if path.is_dir() and kind.looks_like(path):
        return kind.folder_set
    raise UserError(
        f"`data_dir={path}`: nothing in it says which set it is; name it with `dataset`"
    )


def _exams() -> dict[str, type]:
    from medjax.data.builders.brain_planes import BrainPlanes
    from medjax.data.builders.image_folder import ImageFolder
    from medjax.data.builders.medmnist import SETS, MedMNIST

    return {
        "brain_planes": BrainPlanes,
        "image_folder": ImageFolder,
        **_named(MedMNIST, dict.fromkeys(SETS, MedMNIST.READS)),
    }


def _landmarks() -> dict[str, type]:
    from medjax.data.builders.landmarks import Landmarks
    from medjax.data.landmarks import READS

    return _named(Landmarks, READS)


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
        _exams, "image_folder", lambda path: _holds("metadata.csv")(path) or _has_classes(path)
    ),
    LandmarkOptions: SetKind(
        _landmarks, "landmark_folder", _holds("landmarks.csv", "*.mrk.json", "*.fcsv")
    ),
    SequenceOptions: SetKind(_sequences, "sequence_folder", _holds("frames.csv")),
}

"""Where a set's files lie and how to read them; experiments turn the fields into flags."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from medjax.config import option
from medjax.data import walk
from medjax.errors import UserError
from medjax.runtime import WRITTEN

Kind = TypeVar("Kind", bound="Options")

CHANNELS = ("", "gray", "rgb")
COORDINATES = ("", "pixel", "voxel", "LPS", "RAS")
FITS = ("pad", "stretch")
FINE, COARSE = "fine", "coarse"
SCALINGS = ("", "image", "set")
WRISTS = ("payer", "uald")  # as of `landmarks.published.WRIST`


def shape_option() -> Any:
    """What every image of a set is brought to."""
    text = "bring every image or frame to this shape; empty: the set's own"
    return option((), text, item=int, least=1, common=True)


def window_option() -> Any:
    """Intensities that become black and white."""
    text = "intensities that become black and white; empty: percentiles of each image or sequence"
    return option((), text, item=float)


@dataclasses.dataclass(frozen=True)
class Options:
    """What every set can be asked for.

    Attributes:
      data_dir: the folder (or file) that holds it, or a table in it; empty where it is generated.
      path_folder, path_suffix: put before and after each file name of a table.
      split_column, subject_column: columns of the table; empty: `split`, and the usual names of
        subjects.
      split_seed: draws the splits where the set has none.
      subjects: how many subjects to generate, where the set is generated.
      channels: `gray` or `rgb` that all images are converted to; empty: as they are.
      skip_bad: leave files out that cannot be read; they are listed.
      max_image_gb: an image that is larger once it is decoded is refused.
      plain_ids: show the PatientIDs of DICOM headers instead of a keyed hash of them.
    """

    data_dir: str = option(
        "",
        "your images: a folder or a table; empty: a set of medjax's",
        free=True,
        path=True,
        common=True,
        positional=True,
    )
    path_folder: str = option("", "tables: folder put before each file name")
    path_suffix: str = option("", "tables: suffix put after each file name")
    split_column: str = option(
        "", "tables: column of train, val, test; empty: split, if it is there"
    )
    subject_column: str = option(
        "",
        "tables: column of the subjects; empty: the usual names, such as patient_id, if one is "
        "there",
    )
    split_seed: int = option(0, "draws the splits where the set has none")
    subjects: int = option(300, "generated sets: how many subjects", least=1)
    channels: str = option("", "convert all images; empty: as they are", choices=CHANNELS)
    skip_bad: bool = option(False, "leave out files that cannot be read; they are listed")
    max_image_gb: float = option(2.0, "refuse an image that is larger once decoded", least=0)
    plain_ids: bool = option(False, "show the PatientIDs of DICOM files, not a keyed hash of them")

    @property
    def limit_bytes(self) -> int:
        return int(self.max_image_gb * 1e9)

    @property
    def root(self) -> Path:
        """The folder that `data_dir` is, or that the table lies in which it is."""
        path = Path(self.data_dir)
        return path.parent if self.is_table else path

    @property
    def is_table(self) -> bool:
        """Whether `data_dir` is a table."""
        path = Path(self.data_dir)
        return path.suffix.lower() == ".csv" and path.is_file()

    def fingerprint(self, *, apart_from: Path) -> str:
        """Changes whenever the options do, or the name, size or time of any file, links followed;
        but not with what a cache that is filled meanwhile, `apart_from`, writes itself."""
        apart, root = apart_from.resolve(), self.root.resolve()
        kept = [apart] if root in apart.parents else [apart / name for name in WRITTEN]
        files = (
            [root]
            if root.is_file()
            else sorted(folder / name for folder, names in walk.folders(root) for name in names)
            if self.data_dir
            else []
        )
        stats = [
            (str(f), f.stat().st_size, f.stat().st_mtime_ns)
            for f in files
            if f.is_file() and not any(f == k or k in f.parents for k in kept)
        ]
        text = json.dumps([dataclasses.asdict(self), stats, self.others()])
        return hashlib.sha1(text.encode()).hexdigest()[:12]

    def others(self) -> list:
        """The state of further files that the set depends on."""
        return []


@dataclasses.dataclass(frozen=True)
class DataOptions(Options):
    """How to find and read a set of labelled images.

    Attributes:
      image_size: bring every side to this many voxels; 0 keeps the size.
      fit: how: `pad` keeps the proportions and fills the rest, `stretch` does not.
      keep_spacing: take volumes with voxels of several sizes as they are, not resampled.
      class_order: the classes in their order, where they have one; numbers have theirs.
      positive_class: of two classes the one that is looked for; empty: the second.
      path_column, label_column: columns of `metadata.csv`.
      finding_columns: columns of 1, 0 and empty (not known), in place of classes.
      quantity_columns: columns of numbers, or empty (not known), in place of classes.
      unlabelled: images need no classes, and all files below the folder are taken; for trainings
        without labels.
      metadata_columns: further columns to keep.
      taxonomy: a CSV file with the columns child and parent: a tree above the classes.
      leaf_columns: whose values part each class into leaves of the tree.
      max_class_size: leaves are put together up the tree to classes of so many training images; 0:
        each leaf is a class.
      class_level: what is trained on: fine classes, or the coarse ones at the top of the tree.
      subject_block: where there is no subject column, this many files in a row (by name, within
        a class) count as one subject.
    """

    image_size: int = option(
        0, "bring every side to this many voxels; 0 keeps the size", least=0, common=True
    )
    fit: str = option("pad", "how: keep proportions and fill the rest, or stretch", choices=FITS)
    keep_spacing: bool = option(
        False, "volumes with voxels of several sizes are taken as they are, not resampled"
    )
    class_order: tuple[str, ...] = option(
        (),
        "classes in their order, where they have one, for kappa with quadratic weights; numbers "
        "have theirs",
    )
    positive_class: str = option("", "of two classes the one that is looked for; empty: the second")
    path_column: str = option("path", "metadata.csv: column of the file names")
    label_column: str = option("label", "metadata.csv: column of the classes")
    finding_columns: tuple[str, ...] = option(
        (), "metadata.csv: columns of 1 and 0, where an image may have several findings"
    )
    quantity_columns: tuple[str, ...] = option(
        (), "metadata.csv: columns of numbers to be predicted, such as age (regression)"
    )
    unlabelled: bool = option(False, "for pretrain: take all images, without labels")
    metadata_columns: tuple[str, ...] = option((), "metadata.csv: further columns to keep")
    taxonomy: str = option("", "CSV of child and parent: a tree above the classes", path=True)
    leaf_columns: tuple[str, ...] = option((), "taxonomy: columns that part classes into leaves")
    max_class_size: int = option(
        0, "taxonomy: put leaves together to classes of so many training images; 0: none", least=0
    )
    class_level: str = option(
        FINE, "taxonomy: train on its fine classes, or those at its top", choices=(FINE, COARSE)
    )
    subject_block: int = option(1, "folders: so many files in a row are one subject", least=1)

    def __post_init__(self) -> None:
        if not self.taxonomy and (
            self.leaf_columns or self.max_class_size or self.class_level != FINE
        ):
            raise UserError(
                "`leaf_columns`, `max_class_size` and `class_level` are for a tree: give `taxonomy`"
            )
        columns = [name for name in _NO_CLASSES if getattr(self, name)]
        if self.taxonomy and columns:
            raise UserError(f"`taxonomy` is a tree of classes; `{columns[0]}` are none")
        if len(columns) > 1:
            raise UserError(f"`{columns[0]}` with `{columns[1]}`: give one of the two")
        for name in OF_CLASSES:
            if columns and getattr(self, name) != getattr(DataOptions, name):
                raise UserError(f"`{name}` is for classes; with `{columns[0]}` leave it out")
        learnt = (*self.finding_columns, *self.quantity_columns)
        again = [c for i, c in enumerate(learnt) if c in learnt[:i] or c in self.metadata_columns]
        if again:
            raise UserError(
                f"`{columns[0]}`: {again[0]} is named twice, or is in `metadata_columns` too; what "
                "is learnt is named once"
            )

    @property
    def has_classes(self) -> bool:
        """Whether images are labelled with classes."""
        return not any(getattr(self, name) for name in _NO_CLASSES)

    def others(self) -> list:
        return state_of(self.taxonomy)


OF_CLASSES = ("label_column", "class_order", "positive_class")
# What stands in place of classes.
_NO_CLASSES = ("finding_columns", "quantity_columns", "unlabelled")


def state_of(*files: str) -> list:
    """Size and time of each file that is there."""
    stats = [Path(name).stat() for name in files if name and Path(name).is_file()]
    return [x for s in stats for x in (s.st_size, s.st_mtime_ns)]


@dataclasses.dataclass(frozen=True)
class LandmarkOptions(Options):
    """How to find and read a set of images with landmarks.

    Attributes:
      path_column, name_column: columns of `landmarks.csv`: the image, and in long form the
        landmark; empty: the first of the usual names that it has.
      coordinates: what its columns x, y, z mean, where their names do not say: pixel, voxel, LPS
        or RAS.
      spacing_column: its column with the size of a pixel in mm, for images that do not know it;
        empty: `spacing_mm`.
      image_shape: what every image is brought to, in the order of the array; empty: the set's own.
      grid_mm: size of a voxel then; 0: each image is scaled to fit into the shape.
      pose_from: a run whose predictions bring all images into one pose; empty: they keep theirs.
      window: intensities that become black and white; empty: percentiles of each image.
      ndim: 2 or 3, for the set that is generated.
      published_fold: hand_xray: which cross-validation fold; wrist: which points give its scale.
    """

    subjects: int = option(200, "generated sets: how many subjects", least=1)

    path_column: str = option("", "table: column of the files; empty: the usual names")
    name_column: str = option("", "landmarks.csv, a row a landmark: column of their names")
    coordinates: str = option(
        "", "landmarks.csv: what x, y, z are where their names do not say", choices=COORDINATES
    )
    spacing_column: str = option(
        "", "tables: column with the size of a pixel in mm; empty: spacing_mm, if it is there"
    )
    image_shape: tuple[int, ...] = shape_option()
    grid_mm: float = option(0.0, "size of a voxel then; 0: each image is scaled to fit", least=0)
    pose_from: str = option(
        "",
        "work directory of an earlier run on the same images: its predictions turn them into one "
        "pose",
        path=True,
    )
    window: tuple[float, ...] = window_option()
    ndim: int = option(2, "brain_landmarks: 2 for slices, 3 for volumes", common=True)
    published_fold: int = option(1, "hand_xray: fold of its authors", least=1, formerly="fold")
    wrist: str = option("payer", "hand_xray: points that are 50 mm apart", choices=WRISTS)

    def __post_init__(self) -> None:
        check_shape(self.image_shape, sides=(0, 2, 3))
        check_window(self.window)
        if self.ndim not in (2, 3):
            raise UserError(f"`ndim={self.ndim}`: images have 2 or 3 axes")

    def others(self) -> list:
        return state_of(self.pose_from, self.pose_from and f"{self.pose_from}/predictions.csv")


@dataclasses.dataclass(frozen=True)
class MaskOptions(Options):
    """How to find and read a set of images with masks.

    Attributes:
      path_column, mask_column: columns of `masks.csv`: the image and its mask; empty: the usual
        names.
      spacing_column: its column with the size of a pixel in mm, for images that do not know it;
        empty: `spacing_mm`.
      series: of folders with DICOM slices that hold several series, the one that is meant, by its
        description, number or UID.
      structures: names of the values 1, 2, ... of the masks; empty: those that the set declares.
      voxel_mm: what volumes are resampled to, one number an axis (right, front, up); empty: the
        median of each axis where they differ, else as they are.
      longest_side: images with a longer side are shrunk to so many voxels along it; masks come back
        in the size of the file.
      scaling: `image`: 8 bits between percentiles of each image (MR, pictures); `set`: values as
        they are, scaled alike for all (CT); empty: by the values.
      window: intensities that become black and white, with `scaling=image`.
      unlabelled: images without a mask are left out and counted, not refused.
      instances: masks number single things of one structure, not structures.
      ndim: 2 or 3, for the set that is generated.
    """

    subjects: int = option(120, "generated sets: how many subjects", least=1)

    path_column: str = option("", "masks.csv: column of the images; empty: the usual names")
    mask_column: str = option("", "masks.csv: column of the masks; empty: the usual names")
    spacing_column: str = option(
        "", "tables: column with the size of a pixel in mm; empty: spacing_mm, if it is there"
    )
    series: str = option(
        "",
        "folders of DICOM slices: which series, by its description, number or UID; empty: the only "
        "one",
    )
    structures: tuple[str, ...] = option(
        (), "names of the values 1, 2, ... of the masks; empty: those that the set declares"
    )
    voxel_mm: tuple[float, ...] = option(
        (),
        "resample volumes to voxels of this size; empty: the median size, where they differ",
        item=float,
        common=True,
    )
    longest_side: int = option(
        0, "shrink images with a longer side to so many pixels along it; 0: none", least=0
    )
    scaling: str = option(
        "",
        "image: 8 bits, each image by itself (MR); set: own values, all alike (CT); empty: by the "
        "values",
        choices=SCALINGS,
    )
    window: tuple[float, ...] = window_option()
    unlabelled: bool = option(False, "leave out images without a mask; they are counted")
    instances: bool = option(
        False, "masks number single things, as nuclei: 1, 2, ... in each image anew"
    )
    ndim: int = option(2, "brain_tissue: 2 for slices, 3 for volumes", common=True)

    def __post_init__(self) -> None:
        check_window(self.window)
        if self.ndim not in (2, 3):
            raise UserError(f"`ndim={self.ndim}`: images have 2 or 3 axes")
        if len(self.voxel_mm) not in (0, 2, 3) or any(size <= 0 for size in self.voxel_mm):
            raise UserError("`voxel_mm`: give a positive size for each axis, comma-separated")
        if self.voxel_mm and self.longest_side:
            raise UserError("`longest_side` with `voxel_mm`: give one of the two")


@dataclasses.dataclass(frozen=True)
class BoxOptions(Options):
    """How to find and read a set of images with boxes.

    Attributes:
      path_column: column of `boxes.csv` with the image; empty: the usual names.
      label_column: its column with the class; empty: the usual names.
      spacing_column: its column with the size of a pixel in mm; empty: `spacing_mm`.
      image_shape: what every image is brought to, in the order of the array; empty: the set's own.
      grid_mm: size of a voxel then; 0: each image is scaled to fit into the shape.
      window: intensities that become black and white; empty: percentiles of each image.
      instances: of masks that boxes are drawn about: they number single things.
      ndim: 2 or 3, for the set that is generated.
    """

    subjects: int = option(120, "generated sets: how many subjects", least=1)

    path_column: str = option("", "boxes.csv: column of the images; empty: the usual names")
    label_column: str = option("", "boxes.csv: column of the classes; empty: the usual names")
    spacing_column: str = option(
        "", "tables: column with the size of a pixel in mm; empty: spacing_mm, if it is there"
    )
    image_shape: tuple[int, ...] = shape_option()
    grid_mm: float = option(0.0, "size of a voxel then; 0: each image is scaled to fit", least=0)
    window: tuple[float, ...] = window_option()
    instances: bool = option(
        False, "boxes from masks: these number single things, 1, 2, ... in each image anew"
    )
    ndim: int = option(2, "drawn_cells: 2 for pictures, 3 for volumes", common=True)

    def __post_init__(self) -> None:
        check_shape(self.image_shape, sides=(0, 2, 3))
        check_window(self.window)
        if self.ndim not in (2, 3):
            raise UserError(f"`ndim={self.ndim}`: images have 2 or 3 axes")


def check_shape(shape: tuple[int, ...], *, sides: tuple[int, ...]) -> None:
    """Raises UserError unless so many sides are given."""
    if len(shape) not in sides:
        wanted = "height and width" if max(sides) == 2 else "the 2 or 3 sides"
        raise UserError(f"`image_shape`: give {wanted}, comma-separated")


def check_window(window: tuple[float, ...]) -> None:
    """Raises UserError unless it is empty or a range of intensities."""
    if len(window) not in (0, 2) or list(window) != sorted(set(window)):
        raise UserError("`window`: give two intensities, the lower first")


def as_kind(options: Options, kind: type[Kind]) -> Kind:
    """The options of another kind of set, with the settings that both kinds have."""
    common = {f.name for f in dataclasses.fields(kind)} & {
        f.name for f in dataclasses.fields(options)
    }
    return kind(**{name: getattr(options, name) for name in common})

"""Where a set's files lie and how to read them; experiments turn the fields into flags."""

import dataclasses
import hashlib
import json
from pathlib import Path

from medjax.data import walk


@dataclasses.dataclass(frozen=True)
class Options:
    """What every set can be asked for.

    Attributes:
      data_dir: the folder (or file) that holds it; empty where it is generated.
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

    data_dir: str = ""
    path_folder: str = ""
    path_suffix: str = ""
    split_column: str = ""
    subject_column: str = ""
    split_seed: int = 0
    subjects: int = 300
    channels: str = ""
    skip_bad: bool = False
    max_image_gb: float = 2.0
    plain_ids: bool = False

    @property
    def limit_bytes(self) -> int:
        return int(self.max_image_gb * 1e9)

    def fingerprint(self, *, apart_from: Path) -> str:
        """Changes whenever the options do, or the name, size or time of any file, links followed.

        Args:
          apart_from: a folder whose files do not count, such as one that is filled meanwhile.
        """
        apart = apart_from.resolve()
        root = Path(self.data_dir).resolve()
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
            if f.is_file() and apart not in f.parents
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
      metadata_columns: further columns to keep.
      subject_block: where there is no subject column, this many files in a row (by name, within
        a class) count as one subject.
    """

    image_size: int = 0
    fit: str = "pad"
    keep_spacing: bool = False
    class_order: tuple[str, ...] = ()
    positive_class: str = ""
    path_column: str = "path"
    label_column: str = "label"
    metadata_columns: tuple[str, ...] = ()
    subject_block: int = 1


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
      fold: hand_xray: which cross-validation fold; wrist: which points give its scale.
    """

    subjects: int = 200

    path_column: str = ""
    name_column: str = ""
    coordinates: str = ""
    spacing_column: str = ""
    image_shape: tuple[int, ...] = ()
    grid_mm: float = 0.0
    pose_from: str = ""
    window: tuple[float, ...] = ()
    ndim: int = 2
    fold: int = 1
    wrist: str = "payer"

    def others(self) -> list:
        file = Path(self.pose_from, "predictions.csv") if self.pose_from else Path()
        return [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else []


@dataclasses.dataclass(frozen=True)
class SequenceOptions(Options):
    """How to find and read a set of sequences.

    Attributes:
      path_column: column of `frames.csv` with the file; empty: the first of the usual names.
      image_shape: height and width that every frame is brought to; empty: the set's own.
      grid_mm: size of a pixel then; 0: each frame is scaled to fit into the shape.
      window: intensities that become black and white; empty: percentiles of each sequence.
      frame_ms: from one frame to the next, where neither file nor table tells it.
      cyclic: each sequence is one whole cycle (sequence_folder; other sets know).
      fold: sunnybrook_cine: the patient that is left out.
    """

    subjects: int = 400

    path_column: str = ""
    image_shape: tuple[int, ...] = ()
    grid_mm: float = 0.0
    window: tuple[float, ...] = ()
    frame_ms: float = 0.0
    cyclic: bool = False
    fold: int = 1

"""Where a set's files lie and how to read them; experiments turn the fields into flags."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Options:
    """What every set can be asked for.

    Attributes:
      data_dir: the folder (or file) that holds it; empty where it is generated.
      path_folder, path_suffix: put before and after each file name of a table.
      split_column, subject_column: columns of the table.
      split_seed: draws the splits where the set has none.
      subjects: how many subjects to generate, where the set is generated.
    """

    data_dir: str = ""
    path_folder: str = ""
    path_suffix: str = ""
    split_column: str = "split"
    subject_column: str = "subject"
    split_seed: int = 0
    subjects: int = 300

    def fingerprint(self) -> str:
        """Changes whenever the options do, or the name, size or time of any file, links followed.
        """
        root = Path(self.data_dir).resolve()
        files = [root] if root.is_file() else sorted(
            Path(folder, name) for folder, _, names in os.walk(root, followlinks=True)
            for name in names) if self.data_dir else []
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.is_file()]
        text = json.dumps([dataclasses.asdict(self), stats, self.others()])
        return hashlib.sha1(text.encode()).hexdigest()[:12]

    def others(self) -> list:
        """The state of further files that the set depends on."""
        return []


@dataclasses.dataclass(frozen=True)
class DataOptions(Options):
    """How to find and read a set of labelled images.

    Attributes:
      image_size: resize every side to this many voxels; 0 keeps the size.
      path_column, label_column: columns of `metadata.csv`.
      metadata_columns: further columns to keep.
      subject_block: where there is no subject column, this many files in a row (by name, within
        a class) count as one subject.
    """

    image_size: int = 0
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
      spacing_column: its column with the size of a pixel in mm, for images that do not know it.
      image_shape: what every image is brought to, in the order of the array; empty: the set's own.
      grid_mm: size of a voxel then; 0: each image is scaled to fit into the shape.
      pose_from: a run whose predictions bring all images into one pose; empty: they keep theirs.
      window: intensities that become black and white; empty: percentiles of each image.
      ndim: 2 or 3, for the set that is generated.
      fold: hand_xray: which cross-validation fold; wrist: which points give its scale.
    """

    path_column: str = ""
    name_column: str = ""
    coordinates: str = ""
    spacing_column: str = "spacing_mm"
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

    path_column: str = ""
    image_shape: tuple[int, ...] = ()
    grid_mm: float = 0.0
    window: tuple[float, ...] = ()
    frame_ms: float = 0.0
    cyclic: bool = False
    fold: int = 1

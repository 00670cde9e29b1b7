"""Where a set's files lie and how to read them; experiments turn the fields into flags."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How to find and read a set of labelled images.

    Attributes:
      data_dir: the folder (or `.npz` file) that holds it; empty where it is generated.
      image_size: resize every side to this many voxels; 0 keeps the size.
      path_column, label_column, split_column, subject_column: columns of `metadata.csv`.
      metadata_columns: further columns to keep.
      path_folder, path_suffix: put before and after each entry of the path column.
      subject_block: where there is no subject column, this many files in a row (by name, within
        a class) count as one subject.
      split_seed: draws the splits where the set has none.
      subjects: how many subjects to generate, where the set is generated.
    """

    data_dir: str = ""
    image_size: int = 0
    path_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    subject_column: str = "subject"
    metadata_columns: tuple[str, ...] = ()
    path_folder: str = ""
    path_suffix: str = ""
    subject_block: int = 1
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
        text = json.dumps([dataclasses.asdict(self), stats])
        return hashlib.sha1(text.encode()).hexdigest()[:12]

"""Sets of sequences with named frames, by name."""

from collections.abc import Callable

from medjax.data.sequence_options import SequenceOptions
from medjax.data.sequences import generated, published
from medjax.data.sequences.case import SequenceSet
from medjax.data.sequences.folder import sequence_folder

_GRID = ("image_shape", "grid_mm", "window", "channels", "skip_bad")
_MADE = ("subjects", *_GRID)
_FILES = ("data_dir", "max_image_gb", "plain_ids", "split_seed", *_GRID)


SETS: dict[str, Callable[[SequenceOptions], SequenceSet]] = {
    "beating_heart": generated.beating_heart,
    "brain_sweeps": generated.brain_sweeps,
    "sequence_folder": sequence_folder,
    "sunnybrook_cine": published.sunnybrook_cine,
    "acdc": published.acdc,
    "echonet_dynamic": published.echonet_dynamic,
}
READS = {  # which options each set reads
    "beating_heart": _MADE,
    "brain_sweeps": ("frame_ms", *_MADE),
    "sequence_folder": (
        "path_folder",
        "path_suffix",
        "path_column",
        "split_column",
        "subject_column",
        "frame_ms",
        "cyclic",
        *_FILES,
    ),
    "sunnybrook_cine": ("published_fold", *_FILES),
    **dict.fromkeys(("acdc", "echonet_dynamic"), ("frame_ms", *_FILES)),
}

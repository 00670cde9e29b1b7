"""Sets of images that are registered in pairs, by name."""

from collections.abc import Callable

from medjax.data.pair_options import PairOptions
from medjax.data.pairs import published
from medjax.data.pairs.case import PairSet
from medjax.data.pairs.folder import image_pairs
from medjax.data.pairs.generated import brain_pairs

_FORM = ("voxel_mm", "longest_side", "window", "skip_bad", "initial")
_FILES = ("data_dir", "max_image_gb", "plain_ids", "split_seed", *_FORM)
_LISTS = (
    "path_column",
    "path_folder",
    "path_suffix",
    "split_column",
    "subject_column",
    "spacing_column",
    "series",
    "structures",
    "pairs",
    "atlas",
    "unsplit",
    *_FILES,
)

SETS: dict[str, Callable[[PairOptions], PairSet]] = {
    "brain_pairs": brain_pairs,
    "image_pairs": image_pairs,
    "hippocampus_pairs": published.hippocampus_pairs,
    "mouse_brain": published.mouse_brain,
}
READS = {  # which options each set reads
    "brain_pairs": ("subjects", "ndim", *_FORM),
    "image_pairs": _LISTS,
    "hippocampus_pairs": ("pairs", *_FILES),
    "mouse_brain": ("unsplit", *_FILES),
}

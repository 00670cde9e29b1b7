"""Sets of images with masks, by name."""

from collections.abc import Callable

from medjax.data.masks import generated, published
from medjax.data.masks.case import MaskSet
from medjax.data.masks.folder import mask_folder
from medjax.data.options import MaskOptions

_FORM = ("voxel_mm", "longest_side", "scaling", "window", "channels", "skip_bad")
_FILES = ("data_dir", "max_image_gb", "plain_ids", "split_seed", *_FORM)
_LISTS = (
    "path_folder",
    "path_suffix",
    "path_column",
    "mask_column",
    "split_column",
    "subject_column",
    "spacing_column",
    "series",
    "structures",
    "instances",
    "unlabelled",
    *_FILES,
)

SETS: dict[str, Callable[[MaskOptions], MaskSet]] = {
    "brain_tissue": generated.brain_tissue,
    "mask_folder": mask_folder,
    "decathlon": published.decathlon,
    "hippocampus": published.hippocampus,
    "acdc": published.acdc,
    "chasedb1": published.chasedb1,
    "hc18": published.hc18,
    "nuclei_dsb2018": published.nuclei_dsb2018,
}
READS = {  # which options each set reads
    "brain_tissue": ("subjects", "ndim", *_FORM),
    "mask_folder": _LISTS,
    "decathlon": ("structures", "unlabelled", *_FILES),
    **dict.fromkeys(("hippocampus", "acdc", "chasedb1", "hc18", "nuclei_dsb2018"), _FILES),
}

"""Sets of images with boxes, by name."""

from collections.abc import Callable

from medjax.data.boxes import generated, published
from medjax.data.boxes.case import BoxSet
from medjax.data.boxes.folder import box_folder
from medjax.data.options import BoxOptions

_GRID = ("image_shape", "grid_mm", "window", "channels", "skip_bad")
_FILES = ("data_dir", "max_image_gb", "plain_ids", "split_seed", *_GRID)
_LISTS = (
    "path_folder",
    "path_suffix",
    "path_column",
    "label_column",
    "split_column",
    "subject_column",
    "spacing_column",
    "instances",
    *_FILES,
)

SETS: dict[str, Callable[[BoxOptions], BoxSet]] = {
    "drawn_cells": generated.drawn_cells,
    "box_folder": box_folder,
    "bccd": published.bccd,
}
READS = {  # which options each set reads
    "drawn_cells": ("subjects", "ndim", *_GRID),
    "box_folder": _LISTS,
    "bccd": _FILES,
}

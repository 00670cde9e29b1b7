"""Sets of images with landmarks, by name."""

from collections.abc import Callable

from medjax.data.landmarks import generated, published
from medjax.data.landmarks.case import LandmarkSet
from medjax.data.landmarks.folder import landmark_folder
from medjax.data.options import LandmarkOptions

_GRID = ("image_shape", "grid_mm", "window", "pose_from", "channels", "skip_bad")
_MADE = ("subjects", *_GRID)
_FILES = ("data_dir", "max_image_gb", "plain_ids", "split_seed", *_GRID)
_LISTS = (
    "path_folder",
    "path_suffix",
    "path_column",
    "split_column",
    "subject_column",
    "spacing_column",
    *_FILES,
)


SETS: dict[str, Callable[[LandmarkOptions], LandmarkSet]] = {
    "brain_landmarks": generated.brain_landmarks,
    "synthetic_hand": generated.synthetic_hand,
    "landmark_folder": landmark_folder,
    "hc18": published.hc18,
    "mouse_skull": published.mouse_skull,
    "hippocampus": published.hippocampus,
    "afids": published.afids,
    "isbi2015": published.isbi2015,
    "hand_xray": published.hand_xray,
}
READS = {  # which options each set reads
    "brain_landmarks": ("ndim", *_MADE),
    "synthetic_hand": _MADE,
    "landmark_folder": ("name_column", "coordinates", *_LISTS),
    "afids": _LISTS,
    **dict.fromkeys(("hc18", "mouse_skull", "hippocampus", "isbi2015"), _FILES),
    "hand_xray": ("published_fold", "wrist", "path_suffix", *_FILES),
}

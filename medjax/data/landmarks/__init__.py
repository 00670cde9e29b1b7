"""Sets of images with landmarks, by name."""

from collections.abc import Callable

from medjax.data.landmarks import generated, published
from medjax.data.landmarks.case import LandmarkSet
from medjax.data.landmarks.folder import landmark_folder
from medjax.data.options import LandmarkOptions

SETS: dict[str, Callable[[LandmarkOptions], LandmarkSet]] = {
    "brain_landmarks": generated.brain_landmarks, "synthetic_hand": generated.synthetic_hand,
    "landmark_folder": landmark_folder, "hc18": published.hc18,
    "mouse_skull": published.mouse_skull, "hippocampus": published.hippocampus,
    "afids": published.afids, "isbi2015": published.isbi2015, "hand_xray": published.hand_xray,
}

"""How trained networks answer: the settings that answers depend on, as data, and the doing."""

from medjax.outputs.landmarks.serve import LandmarkAnswer
from medjax.tasks.classification.predictor import ClassificationPredictor, ClassProbabilities
from medjax.tasks.heatmap.predictor import HeatmapPredictor
from medjax.tasks.search.predictor import SearchPredictor
from medjax.tasks.temporal.predictor import FrameAnswer, TemporalPredictor

Predictor = ClassificationPredictor | HeatmapPredictor | SearchPredictor | TemporalPredictor
Answer = ClassProbabilities | LandmarkAnswer | FrameAnswer
KINDS: dict[str, type[Predictor]] = {  # by experiment
    "classify": ClassificationPredictor,
    "heatmap": HeatmapPredictor,
    "search": SearchPredictor,
    "temporal": TemporalPredictor,
}

"""The methods that medjax has, by the name of their experiment. A new one is one line here."""

from typing import Any

from medjax.tasks.classification.predictor import ClassificationPredictor
from medjax.tasks.detection.predictor import DetectionPredictor
from medjax.tasks.heatmap.predictor import HeatmapPredictor
from medjax.tasks.search.predictor import SearchPredictor
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.temporal.predictor import TemporalPredictor

TASKS: dict[str, type[Any]] = {
    "classify": ClassificationPredictor,
    "detect": DetectionPredictor,
    "heatmap": HeatmapPredictor,
    "search": SearchPredictor,
    "segment": SegmentationPredictor,
    "temporal": TemporalPredictor,
    "transfer": ClassificationPredictor,
}

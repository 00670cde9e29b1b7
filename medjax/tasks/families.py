"""The methods that medjax has, by the name of their experiment. A new one is one line here."""

from typing import Any

from medjax.outputs.base import Output
from medjax.outputs.findings import FINDINGS
from medjax.outputs.quantities import QUANTITIES
from medjax.tasks.classification.predictor import ClassificationPredictor
from medjax.tasks.detection.predictor import DetectionPredictor
from medjax.tasks.embedding.predictor import EmbeddingPredictor
from medjax.tasks.heatmap.predictor import HeatmapPredictor
from medjax.tasks.registration.predictor import RegistrationPredictor
from medjax.tasks.search.predictor import SearchPredictor
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.tasks.temporal.predictor import TemporalPredictor

TASKS: dict[str, type[Any]] = {
    "classify": ClassificationPredictor,
    "detect": DetectionPredictor,
    "heatmap": HeatmapPredictor,
    "pretrain": EmbeddingPredictor,
    "register": RegistrationPredictor,
    "retrieve": EmbeddingPredictor,
    "search": SearchPredictor,
    "segment": SegmentationPredictor,
    "temporal": TemporalPredictor,
    "transfer": ClassificationPredictor,
}


def known_outputs() -> list[Output[Any]]:
    """What networks answer with, of each method, and what may stand in place of classes."""
    return [*(predictor().output for predictor in TASKS.values()), FINDINGS, QUANTITIES]

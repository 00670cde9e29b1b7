"""How trained networks answer: the settings that answers depend on, as data, and the doing."""

from medjax.outputs.landmarks.serve import Points
from medjax.tasks.classification.predictor import Classes, Classify
from medjax.tasks.heatmap.predictor import Heatmap
from medjax.tasks.search.predictor import Search
from medjax.tasks.temporal.predictor import Moments, Temporal

Predictor = Classify | Heatmap | Search | Temporal
Answer = Classes | Points | Moments
KINDS: dict[str, type[Predictor]] = {  # by experiment
    "classify": Classify, "heatmap": Heatmap, "search": Search, "temporal": Temporal}

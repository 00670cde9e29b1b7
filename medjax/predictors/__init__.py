"""How trained networks answer: the settings that answers depend on, as data, and the doing."""

from medjax.predictors.classify import Classes, Classify
from medjax.predictors.heatmap import Heatmap
from medjax.predictors.points import Points
from medjax.predictors.search import Search
from medjax.predictors.temporal import Moments, Temporal

Predictor = Classify | Heatmap | Search | Temporal
Answer = Classes | Points | Moments
KINDS: dict[str, type[Predictor]] = {  # by experiment
    "classify": Classify, "heatmap": Heatmap, "search": Search, "temporal": Temporal}

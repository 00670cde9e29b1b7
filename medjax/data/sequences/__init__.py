"""Sets of sequences with named frames, by name."""

from collections.abc import Callable

from medjax.data.options import SequenceOptions
from medjax.data.sequences import generated, published
from medjax.data.sequences.case import SequenceSet
from medjax.data.sequences.folder import sequence_folder

SETS: dict[str, Callable[[SequenceOptions], SequenceSet]] = {
    "beating_heart": generated.beating_heart, "brain_sweeps": generated.brain_sweeps,
    "sequence_folder": sequence_folder, "sunnybrook_cine": published.sunnybrook_cine,
    "acdc": published.acdc, "echonet_dynamic": published.echonet_dynamic,
}

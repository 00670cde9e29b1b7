"""How a set of sequences is read; experiments turn the fields into flags."""

import dataclasses

from medjax.config import option
from medjax.data.options import Options, check_shape, check_window, shape_option, window_option


@dataclasses.dataclass(frozen=True)
class SequenceOptions(Options):
    """How to find and read a set of sequences.

    Attributes:
      path_column: column of `frames.csv` with the file; empty: the first of the usual names.
      image_shape: height and width that every frame is brought to; empty: the set's own.
      grid_mm: size of a pixel then; 0: each frame is scaled to fit into the shape.
      window: intensities that become black and white; empty: percentiles of each sequence.
      frame_ms: from one frame to the next, where neither file nor table tells it.
      cyclic: each sequence is one whole cycle (sequence_folder; other sets know).
      published_fold: sunnybrook_cine: the patient that is left out.
    """

    subjects: int = option(400, "generated sets: how many subjects", least=1)

    path_column: str = option("", "table: column of the files; empty: the usual names")
    image_shape: tuple[int, ...] = shape_option()
    grid_mm: float = option(0.0, "size of a voxel then; 0: each image is scaled to fit", least=0)
    window: tuple[float, ...] = window_option()
    frame_ms: float = option(0.0, "from one frame to the next, where no file tells it", least=0)
    cyclic: bool = option(False, "sequence_folder: each sequence is one whole cycle")
    published_fold: int = option(
        1, "sunnybrook_cine: the patient that is left out, from 1", least=1, formerly="fold"
    )

    def __post_init__(self) -> None:
        check_shape(self.image_shape, sides=(0, 2))
        check_window(self.window)

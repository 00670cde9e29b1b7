"""Settings that every training run has, whichever method it trains."""

import dataclasses

from medjax.config import option
from medjax.ops.augment import Augmentation

AUGMENTATION = Augmentation(  # of every experiment, where it says nothing else
    rotate_degrees=10.0, scale=0.1, translate=0.05, contrast=0.2, brightness=0.1, gamma=0.2
)


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """Where a run writes."""

    workdir: str = option("", "where everything is written", free=True, path=True, common=True)
    cache_dir: str = option(
        "~/.cache/medjax", "prepared sets and compiled programs", free=True, path=True
    )


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """What is reported, and how."""

    bootstrap: int = option(
        2000, "exchanges of a paired test, and what intervals simulate", least=1, free=True
    )
    figure_format: str = option(
        "png",
        "of the figures; pdf and svg stand beside png",
        choices=("png", "pdf", "svg"),
        free=True,
    )
    page_images: bool = option(
        True, "report.html shows images of the cases that were answered worst", free=True
    )
    eval_only: bool = option(False, "read the best checkpoint and report", free=True)

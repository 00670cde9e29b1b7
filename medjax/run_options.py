"""Settings that every training run has, whichever method it trains."""

import dataclasses

from medjax.config import option
from medjax.errors import UserError
from medjax.ops.augment import Augmentation

AUGMENTATION = Augmentation(  # of every experiment, where it says nothing else
    rotate_degrees=10.0, scale=0.1, translate=0.05, contrast=0.2, brightness=0.1, gamma=0.2
)


ALL_FOLDS = "all"


@dataclasses.dataclass(frozen=True)
class FoldOptions:
    """Cross-validation by subject."""

    folds: int = option(
        0, "cross-validation: so many folds, 3 or more, by subject; 0: none", least=0, common=True
    )
    fold: str = option(
        ALL_FOLDS, "which of them is tested, from 0; all: one after the other, reported as one"
    )
    fold_seed: int = option(0, "draws the folds", least=0)

    def __post_init__(self) -> None:
        if self.folds in (1, 2):
            raise UserError(
                f"`folds={self.folds}`: give 3 or more: one is tested, the next chooses the "
                "checkpoint, the rest is trained on"
            )
        if self.fold == ALL_FOLDS:
            return
        if not self.fold.isdigit() or int(self.fold) >= self.folds:
            raise UserError(
                f"`fold={self.fold}`: give `all`, or 0 to {self.folds - 1}"
                if self.folds
                else f"`fold={self.fold}`: is one of how many? give `folds` too"
            )

    @property
    def runs_all(self) -> bool:
        """Whether one run after the other is asked for."""
        return bool(self.folds) and self.fold == ALL_FOLDS


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """Where a run writes, and what it may decide by itself."""

    workdir: str = option("", "where everything is written", free=True, path=True, common=True)
    auto: bool = option(
        False,
        "settings that are not given follow from the set and the device; so they do with a folder "
        "as the argument",
        free=True,
    )
    given: tuple[str, ...] = ()  # the settings that somebody gave...
    chosen: tuple[str, ...] = ()  # ...and those that followed from the set and the device
    resume: str = option(
        "auto",
        "auto: go on from the newest checkpoint in workdir; never: refuse a workdir with a run",
        choices=("auto", "never"),
        free=True,
    )
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
    tensorboard: bool = option(
        False,
        "scalars and figures as event files too, in workdir/tensorboard (an extra)",
        free=True,
    )
    wandb: bool = option(False, "the same to Weights & Biases (an extra)", free=True)
    page_images: bool = option(
        True, "report.html shows images of the cases that were answered worst", free=True
    )
    profile: bool = option(
        False,
        "before training trace a few updates into workdir/profile, and show where their time goes",
        free=True,
    )
    eval_only: bool = option(False, "read the best checkpoint and report", free=True)

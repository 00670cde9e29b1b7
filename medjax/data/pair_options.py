"""How to find and read a set of pairs of images, as settings that become flags."""

import dataclasses
from pathlib import Path

from medjax.config import option
from medjax.data.options import MaskOptions, state_of
from medjax.errors import UserError

ALL, CONSECUTIVE, ATLAS = "all", "consecutive", "atlas"
WORLD, CENTRE, MASS, MOMENTS = INITIAL = ("world", "centre", "mass", "moments")


@dataclasses.dataclass(frozen=True)
class PairOptions(MaskOptions):
    """How images are paired, and how the two of a pair lie at first; the rest as of `MaskOptions`.

    Attributes:
      pairs: `all`, `consecutive` (each with the next, by name), `atlas`, or a table with the
        columns `fixed` and `moving`; empty: `pairs.csv`, where the folder has one, else all.
      atlas: the image that is the moving one of all pairs.
      initial: `world`: where the files say that the images lie; `centre`: their centres together;
        `mass`: their centres of mass; `moments`: their principal axes too; empty: `world` where all
        files say it, else `centre`.
      unsplit: all images are reported on, none is held for training.
    """

    pairs: str = option(
        "",
        "all, consecutive, atlas, or a table with the columns fixed and moving; empty: pairs.csv, "
        "or all",
        path=True,
        common=True,
    )
    atlas: str = option("", "name of the image that all others are paired with", common=True)
    initial: str = option(
        "",
        "how the images of a pair lie at first: by their files (world), or with centres, centres "
        "of mass or principal axes together; empty: world, or centre",
        choices=("", *INITIAL),
    )
    scaling: str = option("set", "of pairs: values stay as they are", choices=("set",))
    unsplit: bool = option(False, "register all pairs; none is held for training")

    def others(self) -> list:
        return state_of(self.pairs)

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.atlas) != (self.pairs == ATLAS):
            raise UserError("`atlas` names the image of `pairs=atlas`: give both or neither")
        known = ("", ALL, CONSECUTIVE, ATLAS)
        if self.pairs not in known and not Path(self.pairs).is_file():
            raise UserError(
                f"`pairs={self.pairs}`: no such table; give one, or {', '.join(known[1:])}"
            )

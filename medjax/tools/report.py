"""The page of a run, written again: `report.html` in its work directory.

    medjax report runs/classify
    medjax report runs/classify --page_images=false

The page of a run that has not finished has what there is, and says so.
"""

import dataclasses
from pathlib import Path

from medjax import page
from medjax.config import option
from medjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    files: tuple[str, ...] = option((), "work directories", positional=True)
    page_images: bool = option(True, "show images of the cases that were answered worst")


def main(config: Config) -> None:
    if not config.files:
        raise UserError("name the work directory of a run")
    for name in config.files:
        print(f"wrote {page.write_run(Path(name), images=config.page_images)}")

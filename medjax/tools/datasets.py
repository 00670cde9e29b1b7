"""The sets that medjax reads: what they are for, how large they are, where the images come from.

    medjax datasets

A set is chosen with `--dataset=NAME`. Sets with the source `--data_dir` are read from the folder
that you have downloaded; your own images need no name: `medjax classify MY_IMAGES`.
"""

import dataclasses

from medjax.data.summaries import SUMMARIES
from medjax.evaluation import report


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def main(config: Config) -> None:
    report.show(
        "sets of images",
        ("name", "finds", "content", "size", "source", "licence"),
        [[name, ", ".join(s.finds), *s[1:]] for name, s in SUMMARIES.items()],
        [
            "labels: medjax classify; landmarks: heatmap and search; masks: segment; "
            "boxes: detect; frames: temporal",
            "sizes are those that the publishers give",
        ],
        text=True,
    )

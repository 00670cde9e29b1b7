"""The sets that medjax reads: what they are for, how large they are, where the images come from.

    medjax datasets

A set is chosen with `--dataset=NAME`. Sets with the source `--data_dir` are read from the folder
that you have downloaded; your own images need no name: `medjax classify MY_IMAGES`.
"""

import dataclasses

from medjax.data.medmnist_sets import LARGER
from medjax.data.summaries import SUMMARIES
from medjax.evaluation import report


@dataclasses.dataclass(frozen=True)
class Config:
    """No settings."""


def main(config: Config) -> None:
    report.show(
        "sets of images",
        ("name", "finds", "content", "size", "source", "licence"),
        [[n, ", ".join(s.finds), *s[1:]] for n, s in SUMMARIES.items() if n not in LARGER],
        [
            "MedMNIST with larger images: its name and 64, 128 or 224 (3-D: 64), as "
            f"{LARGER[0]}, by --data_dir",
            "labels: medjax classify; landmarks: heatmap and search; masks: segment; "
            "boxes: detect; frames: temporal",
            "sizes are those that the publishers give",
        ],
        text=True,
    )

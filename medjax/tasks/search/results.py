"""What the report of a search has: each start, one answer a volume, and what it is held against."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medjax.data.dataset import Split
from medjax.evaluation import metrics as metric_texts
from medjax.evaluation import report as reports
from medjax.outputs.base import WORST_CASES, Picture
from medjax.outputs.landmarks import plot
from medjax.outputs.landmarks.report import LandmarkPredictions
from medjax.tasks.search import environment as env
from medjax.tasks.search import metrics, report, run, searcher
from medjax.tasks.search import plot as search_plot
from medjax.tasks.search.report import Searches
from medjax.tasks.search.searcher import Searcher
from medjax.typing import Json, JsonView


class AgreedPoints(NamedTuple):
    """One answer a volume and landmark.

    Attributes:
      median: of all searches.
      answer: the same, with points replaced that do not fit the shape of the others, where that is
        wished for.
      rows: both, by what they are called.
    """

    median: Searches
    answer: LandmarkPredictions
    rows: dict[str, Searches]


def agree(split: Split, searches: Searches, train: Split, *, outlier_sd: float) -> AgreedPoints:
    """One answer of all searches of each volume.

    Args:
      outlier_sd: standard deviations from which a point does not fit; 0: all stay.
    """
    answer = report.consensus(split, searches)
    median = report.as_searches(answer)
    rows = {"median of the starts": median}
    if outlier_sd:
        answer = report.corrected(split, answer, train["landmarks"], threshold=outlier_sd)
        rows["corrected by shape"] = report.as_searches(answer)
    return AgreedPoints(median, answer, rows)


def at_mean_position(split: Split, train: Split, names: tuple[str, ...]) -> Searches:
    """The trivial baseline."""
    mean = np.tile(train["landmarks"].mean(0), (len(split), 1, 1))
    return report.as_searches(report.at_voxels(split, names, mean))


class Explored(NamedTuple):
    """What was found in the volumes of a split.

    Attributes:
      searches: all of them; consensus: one answer a volume and landmark.
      mean: the trivial baseline; wander: a random walk.
      draw_ways: writes figures of how agents move into a folder.
    """

    split: Split
    searches: Searches
    consensus: AgreedPoints
    mean: Searches
    wander: Searches
    draw_ways: Callable[[Path], list[Picture]]

    @property
    def ensemble(self) -> LandmarkPredictions:
        """The answer for each volume."""
        return self.consensus.answer


def explore(
    agents: Searcher, params: Any, split: Split, train: Split, *, outlier_sd: float
) -> Explored:
    """Searches every volume of a split, with the networks of all seeds and at random.

    Args:
      params: of the networks; outlier_sd: as of `agree`.
    """
    data, count = run.on_device(split, game=agents.game), agents.predictor.starts
    walk = functools.partial(agents.walk, params)
    searches = agents.explore(split, data, walk, count=count)
    wander = agents.explore(split, data, agents.wander, count=count)
    consensus = agree(split, searches, train, outlier_sd=outlier_sd)
    mean = at_mean_position(split, train, agents.names)

    def draw(folder: Path) -> list[Picture]:
        return draw_ways(folder, agents, params, split, data, searches)

    return Explored(split, searches, consensus, mean, wander, draw)


def concatenate(parts: Sequence[Explored]) -> Explored:
    """The volumes of several splits, one after the other."""
    agreed = [p.consensus for p in parts]
    return Explored(
        Split.concatenate([p.split for p in parts]),
        Searches.concatenate([p.searches for p in parts]),
        AgreedPoints(
            Searches.concatenate([a.median for a in agreed]),
            LandmarkPredictions.concatenate([a.answer for a in agreed]),
            {who: Searches.concatenate([a.rows[who] for a in agreed]) for who in agreed[0].rows},
        ),
        Searches.concatenate([p.mean for p in parts]),
        Searches.concatenate([p.wander for p in parts]),
        lambda folder: [],
    )


def summarise(
    explored: Explored, *, radii_mm: tuple[float, ...], other_run: str, samples: int
) -> Json:
    """The numbers of the report.

    Args:
      other_run: work directory of a run whose predictions stand in the same table; empty: none.
      samples: exchanges of paired tests.
    """
    _, searches, consensus, mean, wander, _ = explored
    declared = metrics.declared(radii_mm)
    others = {"mean position in train": mean}
    if other_run:
        others[other_run] = report.from_run(Path(other_run, "predictions.csv"), mean)
    rows = {
        "search, each start": searches,
        **consensus.rows,
        **others,
        "random walk": wander,
    }
    return {
        "metrics": searches.estimates(declared, samples=samples),
        "baseline": mean.values(declared),
        "baseline_is": "each landmark at its mean position in the training volumes",
        "definitions": metric_texts.definitions(declared),
        "missing_in_reference": int(np.isnan(searches.true_mm).any(-1).sum()),
        "variance": searches.variance(),
        "landmarks": {
            name: searches.select(landmark=i).values(declared)
            for i, name in enumerate(searches.names)
        },
        "beside": {who: row.estimates(declared, samples=samples) for who, row in rows.items()},
        "compared_with": "median of the starts",
        "compared": reports.corrected(
            {
                who: report.compare(consensus.median, row, samples=samples)
                for who, row in others.items()
            }
        ),
    }


def draw_ways(
    folder: Path,
    agents: Searcher,
    params: Any,
    split: Split,
    data: env.Volumes,
    searches: Searches,
) -> list[Picture]:
    """How agents move through the volume whose mean error is the median."""
    case, ways, level = searcher.trace_median(agents, params, data, searches)
    image = split.read(case)[..., 0][tuple(slice(a, b) for a, b in split["box"][case].T)]
    target = np.asarray(data.target[case])
    search_plot.paths(folder / "paths.png", image, searches.names, target, ways, level)
    search_plot.animation(
        folder / "search.gif",
        image,
        searches.names[0],
        target[0],
        ways[:, 0, 0],
        level[:, 0, 0],
        voxel_mm=agents.predictor.voxel_mm,
        spacing=np.asarray(agents.game.levels.spacing).tolist(),
        crop=(agents.predictor.crop_size,) * image.ndim,
    )
    return [
        Picture("paths.png", "Ways of some agents through a volume.", shows_images=True),
        Picture("search.gif", "One search, step by step.", shows_images=True),
    ]


def draw(folder: Path, explored: Explored) -> list[Picture]:
    """Errors, ways, and the volumes whose one answer has the largest mean error, with the row of
    the first search of their worst landmark."""
    split, searches = explored.split, explored.searches
    search_plot.histogram(
        folder / "errors.png",
        {name: searches.error_mm[:, i] for i, name in enumerate(searches.names)},
    )
    rows = int(np.prod(searches.steps.shape[2:]))  # of a landmark in a volume
    worst = plot.draw_worst(folder, explored.ensemble, split, most=WORST_CASES)
    return [
        Picture("errors.png", "Errors of all searches, of each landmark."),
        *explored.draw_ways(folder),
        *(p._replace(line=(p.line - 2) * rows + 2) for p in worst),
    ]


def show_beside(result: JsonView, radii_mm: tuple[float, ...]) -> None:
    """Prints the table of the search and of what it is to be better than."""
    names = ["error_mm", "error_mm_median", *(f"sdr_{r:g}mm" for r in radii_mm)]
    short = ["mean mm", "median mm", *(f"< {r:g} mm" for r in radii_mm)]
    reports.show(
        "beside each other",
        ["", *short],
        [
            [
                who,
                reports.with_interval(row[names[0]]),
                *(f"{row[n].value:.3f}" for n in names[1:]),
            ]
            for who, row in result["beside"].items()
        ],
        [
            f"{who} minus the median of the starts: "
            f"{reports.with_interval(c['difference_mm'])} mm, p = {c['p_value']:.4f}, by Holm's "
            f"correction {c['p_holm']:.4f}, on the {c['common']} of {c['points']} points that both "
            "found"
            for who, c in result["compared"].items()
        ],
    )

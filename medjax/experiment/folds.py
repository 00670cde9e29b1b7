"""Cross-validation by subject: networks predict cases whose subjects they have not seen."""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax import schema, weights
from medjax.config import replace_settings
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.experiment.opening import Run
from medjax.experiment.reporting import Finished, count_cases, write_report
from medjax.experiment.training import Learned, Method
from medjax.outputs.base import Evaluation
from medjax.run_options import ALL_FOLDS
from medjax.train import mesh
from medjax.typing import Json
from medjax.workdir import open_workdir, read_settings


class Folds(NamedTuple):
    """All folds as one run.

    Attributes:
      run: whose set is the cases of all folds, in the order of the folds.
      method, learned: the networks of all, which answer together.
      further: what the report says of them.
      score: what chose the checkpoints.
    """

    run: Run
    method: Method
    learned: Learned
    further: Json
    score: str


def cross_validated(
    main: Callable[..., Finished], *, report: Callable[..., Finished] | None = None
) -> Callable[..., Finished]:
    """An experiment's `main` that also takes `fold=all`: each fold in turn, in a folder of its own,
    then one report of all.

    Args:
      report: `report(config, done)` writes it, by `join_folds`; None: as `write_report` does.
    """

    @functools.wraps(main)
    def run_folds(config: Any, **parts: Any) -> Finished:
        if not config.cross_validation.runs_all:
            return main(config, **parts)
        workdir, count = Path(config.files.workdir), config.cross_validation.folds
        _check_free(workdir)
        done = []
        for number in range(count):
            print(f"\nfold {number} of {count}, in {workdir / f'fold_{number}'}", flush=True)
            of_fold = replace_settings(
                config, fold=str(number), workdir=str(workdir / f"fold_{number}")
            )
            done.append(main(of_fold, **parts))
        return (report or _report_folds)(config, done)

    return run_folds


def _check_free(workdir: Path) -> None:
    """Raises UserError, before any fold is trained, for a folder with a run that is none of all
    folds."""
    stored = read_settings(workdir)
    if stored is None:
        return
    if stored.get("fold") != ALL_FOLDS or not any(workdir.glob("fold_*")):
        raise UserError(
            f"`workdir={workdir}`: holds a run without folds; choose another, as "
            f"{workdir.with_name(workdir.name + '_folds')}"
        )


def _report_folds(config: Any, done: Sequence[Finished]) -> Finished:
    evaluation = _pool_evaluations([f.evaluation for f in done])
    with join_folds(config, done, split=evaluation.split) as folds:
        return write_report(
            folds.run,
            folds.method,
            folds.learned,
            evaluation,
            score=folds.score,
            further=folds.further,
        )


@contextlib.contextmanager
def join_folds(config: Any, done: Sequence[Finished], *, split: Split) -> Iterator[Folds]:
    """Holds the work directory of all folds, and writes the networks of all as one ensemble.

    Args:
      split: the cases of all folds.
    """
    first, learned = done[0], [f.learned for f in done]
    stacked = jax.tree.map(lambda *x: np.concatenate(x), *(part.weights for part in learned))
    ensemble = Learned(stacked, _meta_of_folds([part.meta for part in learned]))
    networks = len(done) * first.method.spec.seeds
    method = first.method._replace(spec=dataclasses.replace(first.method.spec, seeds=networks))
    run = dataclasses.replace(
        first.run,
        config=replace_settings(first.run.config, fold=ALL_FOLDS, workdir=config.files.workdir),
        workdir=Path(config.files.workdir),
        dataset=dataclasses.replace(
            first.run.dataset,
            splits={"train": split, "test": split},
            notes=tuple(n for n in first.run.dataset.notes if not n.startswith("fold 0 of ")),
        ),
    )
    digests = "".join(f.run.dataset.digest for f in done)
    facts = {
        "data_sha1": hashlib.sha1(digests.encode()).hexdigest(),
        "how": schema.as_plain(method.predictor),
        "trained": schema.as_plain(method.spec),
    }
    further: Json = {
        "of": f"each case by the networks of its fold, {len(done)} folds",
        "split": "all folds",
        "folds": [f.report["metrics"] for f in done],
        "best_steps": [f.report["best_step"] for f in done],
        "train": {"seconds": sum(f.report["train"]["seconds"] for f in done)},
        "data": {"splits": {"all folds": count_cases(split, first.run.dataset.info)}},
        "notes": [
            f"the {networks} networks of all folds, shared as one ensemble, have seen every case: "
            "no number here is of that ensemble",
            *_choices_of_folds([part.meta for part in learned]),
        ],
    }
    with open_workdir(run.workdir, run.family, run.config, **facts):
        if mesh.is_first():
            weights.write(run.workdir / weights.NAME, ensemble.weights)
        score = str((first.report["validation"] or {}).get("metric"))
        yield Folds(run, method, ensemble, further, score)


def _meta_of_folds(metas: Sequence[Json]) -> Json:
    """That of all: the mean of the values that chose the checkpoints, and no fold's own choice."""
    meta = {k: v for k, v in metas[0].items() if k not in ("choice", "chosen", "choices")}
    if meta["chosen_by"]:
        values = [m["chosen_by"]["value"] for m in metas]
        mean = None if None in values else float(np.mean(values))
        meta["chosen_by"] = {**meta["chosen_by"], "value": mean}
    return meta


def _choices_of_folds(metas: Sequence[Json]) -> list[str]:
    """A note of what each fold has chosen, where there was a choice."""
    if "chosen" not in metas[0]:
        return []
    chosen = [", ".join(f"{k} {v:g}" for k, v in m["chosen"].items()) for m in metas]
    return ["chosen by each fold: " + "; ".join(chosen)]


def _pool_evaluations(parts: Sequence[Evaluation[Any]]) -> Evaluation[Any]:
    kind = type(parts[0].ensemble)
    ensemble = kind.concatenate([p.ensemble for p in parts])
    return parts[0]._replace(
        split=Split.concatenate([p.split for p in parts]),
        ensemble=ensemble,
        by_seed=[
            kind.concatenate([p.by_seed[s] for p in parts]) for s in range(len(parts[0].by_seed))
        ],
        # What validated one fold is reported by another: all together, they are the same cases.
        tuned=ensemble,
        baseline=kind.concatenate([p.baseline for p in parts]),
    )

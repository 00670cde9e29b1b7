"""Cross-validation by subject: networks predict cases whose subjects they have not seen."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import schema, weights
from medjax.config import replace_settings
from medjax.data.source import Split
from medjax.errors import UserError
from medjax.experiment.reporting import Finished, write_report
from medjax.experiment.training import Learned
from medjax.outputs.base import Evaluation
from medjax.train import mesh
from medjax.workdir import open_workdir


def cross_validated(main: Callable[..., Finished]) -> Callable[..., Finished]:
    """An experiment's `main` that also takes `fold=all`: each fold in turn, in a folder of its own,
    then one report of all."""

    @functools.wraps(main)
    def run_folds(config: Any, **parts: Any) -> Finished:
        if not config.cross_validation.runs_all:
            return main(config, **parts)
        workdir, count = Path(config.files.workdir), config.cross_validation.folds
        done = []
        for number in range(count):
            print(f"\nfold {number} of {count}, in {workdir / f'fold_{number}'}", flush=True)
            of_fold = replace_settings(
                config, fold=str(number), workdir=str(workdir / f"fold_{number}")
            )
            done.append(main(of_fold, **parts))
            check_poolable(done[0])  # before all others are trained in vain
        return pool(config, done)

    return run_folds


def check_poolable(finished: Finished) -> None:
    """Raises UserError for a method whose runs leave no table of cases."""
    if finished.evaluation is None or finished.method is None or finished.run is None:
        raise UserError("`fold=all`: this method has no table of cases to pool; give a number")


def pool(config: Any, done: Sequence[Finished]) -> Finished:
    """One report of all folds: out-of-fold predictions, and the networks of all as one ensemble."""
    first = done[0]
    assert first.method is not None and first.run is not None  # see `check_poolable`
    evaluation = _pool_evaluations([f.evaluation for f in done if f.evaluation])
    learned = [f.learned for f in done if f.learned]
    stacked = jax.tree.map(lambda *x: np.concatenate(x), *(part.weights for part in learned))
    ensemble = Learned(stacked, learned[0].meta)
    networks = len(done) * first.method.spec.seeds
    method = first.method._replace(spec=dataclasses.replace(first.method.spec, seeds=networks))
    pooled = evaluation.split
    run = dataclasses.replace(
        first.run,
        config=dataclasses.replace(config, dataset=first.run.config.dataset),
        workdir=Path(config.files.workdir),
        dataset=dataclasses.replace(first.run.dataset, splits={"train": pooled, "test": pooled}),
    )
    digests = "".join(f.run.dataset.digest for f in done if f.run)
    facts = {
        "data_sha1": hashlib.sha1(digests.encode()).hexdigest(),
        "how": schema.as_plain(method.predictor),
        "trained": schema.as_plain(method.spec),
    }
    with open_workdir(run.workdir, run.family, run.config, **facts):
        if mesh.is_first():
            weights.write(run.workdir / weights.NAME, ensemble.weights)
        return write_report(
            run,
            method,
            ensemble,
            evaluation,
            score=str((first.report["validation"] or {}).get("metric")),
            further={
                "of": f"each case by the networks of its fold, {len(done)} folds",
                "split": "all folds",
                "folds": [f.report["metrics"] for f in done],
                "notes": [
                    f"the {networks} networks of all folds, shared as one ensemble, have seen "
                    "every case: no number here is of that ensemble"
                ],
            },
        )


def _pool_evaluations(parts: Sequence[Evaluation[Any]]) -> Evaluation[Any]:
    kind = type(parts[0].ensemble)
    return parts[0]._replace(
        split=Split.concatenate([p.split for p in parts]),
        ensemble=kind.concatenate([p.ensemble for p in parts]),
        by_seed=[
            kind.concatenate([p.by_seed[s] for p in parts]) for s in range(len(parts[0].by_seed))
        ],
        tuned=kind.concatenate([p.tuned for p in parts]),
        baseline=kind.concatenate([p.baseline for p in parts]),
    )

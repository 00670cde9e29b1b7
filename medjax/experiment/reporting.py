"""A run writes its report."""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax import page, progress, weights
from medjax.config import changed_settings, flatten_settings
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.data.summaries import SUMMARIES
from medjax.evaluation import metrics, plot, report, stats
from medjax.experiment.opening import Run, say
from medjax.experiment.remarks import remark_learning
from medjax.experiment.training import Learned, Method
from medjax.outputs.base import Evaluation, Picture, extend
from medjax.run_options import FileOptions
from medjax.runtime import host
from medjax.tasks.base import Predictor
from medjax.train import mesh, state
from medjax.train.record import read_lines, write_json
from medjax.typing import Json, JsonView


class Finished(NamedTuple):
    """A run that has ended.

    Attributes:
      workdir: where its files are.
      report: its numbers, as `report.json` has them, with estimates as objects.
      evaluation: what they come from; its `ensemble` are the predictions.
      run, method, learned: what was run, what was trained, and its best checkpoint.
    """

    workdir: Path
    report: Json
    evaluation: Any
    run: Run
    method: Method
    learned: Learned


def write_report(
    run: Run,
    method: Method,
    learned: Learned,
    evaluation: Evaluation[Any],
    *,
    score: str,
    unit: str = "examples",
    further: JsonView | None = None,
    show: Callable[[JsonView], None] = lambda result: None,
    draw: Callable[[Path], list[Picture]] = lambda folder: [],
) -> Finished:
    """Writes predictions, report, figures and page, and prints the table; the first process alone
    does.

    Args:
      score: what chose the checkpoint, for the learning curve.
      unit: as of `facts`.
      further: what the report has beside what all have.
      show: prints tables of its own; draw: writes figures of its own, which stand first.
    """
    output, declared = method.predictor.output, evaluation.metrics
    details = output.details(evaluation)
    learning = remark_learning(read_lines(run.workdir / "metrics.jsonl"))
    further = further or {}
    remarks = [*further.get("remarks", []), *learning, *details.get("remarks", [])]
    say("computing intervals, drawing figures")
    with progress.alive("computing intervals"), host().at_once("reporting"):
        estimates = evaluation.ensemble.estimates(declared, samples=evaluation.samples)
    result = extend(
        {
            **facts(run, method.predictor, learned, unit=unit),
            "metrics": estimates,
            "baseline": evaluation.baseline.values(declared),
            "baseline_is": evaluation.baseline_is,
            "definitions": metrics.definitions(dict(declared)),
            "seeds": by_seed(run, [table.values(declared) for table in evaluation.by_seed]),
        },
        {**extend(dict(details), further), "remarks": remarks},
    )
    finished = Finished(run.workdir, result, evaluation, run, method, learned)
    if not mesh.is_first():
        return finished
    wrote = evaluation.ensemble.write_files(run.workdir)
    if len(evaluation.by_seed) > 1:
        (run.workdir / "seeds").mkdir(exist_ok=True)
        for seed, table in enumerate(evaluation.by_seed, start=run.training.seed):
            table.write(run.workdir / "seeds" / f"predictions_{seed}.csv")
    publish(
        run,
        result,
        lambda folder: [*draw(folder), *output.draw(folder, evaluation)],
        score=score,
        show=show,
        wrote=wrote,
    )
    return finished


def publish(
    run: Run,
    result: Json,
    draw: Callable[[Path], list[Picture]],
    *,
    score: str,
    unit: str = "loss",
    show: Callable[[JsonView], None] = lambda result: None,
    wrote: Sequence[str] = (),
) -> None:
    """Writes `report.json`, the figures and the page of a run, and prints its tables.

    Args:
      result: the numbers; draw: writes the figures into a folder, and says what they show.
      score, unit: of the learning curve.
      show: prints tables of its own; wrote: further files, to be named.
    """
    with host().at_once("reporting"):
        report.write(run.workdir / "report.json", result)
        folder = run.workdir / "figures"
        for old in folder.glob("worst_*.png"):  # of an evaluation before, which may have had more
            old.unlink()
        folder.mkdir(exist_ok=True)
        with progress.alive("drawing figures"):
            pictures = [*draw(folder), *draw_learning(folder, run, score=score, unit=unit)]
        write_json(folder / page.CAPTIONS, {"pictures": [p._asdict() for p in pictures]})
        page.write_run(run.workdir, images=run.config.report.page_images)
        numbers = {k: v.value for k, v in result["metrics"].items() if np.isfinite(v.value)}
        for tracker in run.trackers:
            shown = [p.file for p in pictures if not p.shows_images and p.file.endswith(".png")]
            tracker.finish(numbers, [folder / name for name in shown])
        show(result)
        report.show_result(result, run.workdir, wrote=wrote)


def draw_learning(folder: Path, run: Run, *, score: str, unit: str) -> list[Picture]:
    """Draws the learning curve of what was trained in the work directory itself."""
    lines = read_lines(run.workdir / "metrics.jsonl")
    if not lines:
        return []
    plot.learning_curve(folder / "learning_curve.png", lines, score=score, unit=unit)
    return [Picture("learning_curve.png", "Loss of training and validation, and the metric there.")]


def facts(run: Run, predictor: Predictor, learned: Learned, *, unit: str = "examples") -> Json:
    """What every report has beside its metrics; `unit` is what its speed counts."""
    dataset, split, seeds, meta = run.dataset, run.report_split, run.training.seeds, learned.meta
    return {
        "experiment": run.family,
        "dataset": dataset.info.name,
        "split": dataset.report_split,
        "synthetic": dataset.info.synthetic,
        "cases": len(split),
        "subjects": len(set(split.subject_id)),
        "subjects_known_by": dataset.info.subjects,
        "model": getattr(predictor, "network_name", predictor.model),
        "of": f"ensemble of {seeds} seeds" if seeds > 1 else "one seed",
        "parameters": state.count_parameters(learned.weights[0]) // _networks(learned),
        "best_step": meta["step"],
        "validation": meta.get("chosen_by"),
        **{name: meta[name] for name in ("choice", "chosen", "choices") if name in meta},
        "weights_sha256": hashlib.sha256((run.workdir / weights.NAME).read_bytes()).hexdigest(),
        "train": timing(run, meta),
        "unit": unit,
        **({"started_from": run.started_from} if run.started_from else {}),
        "notes": list(dataset.notes),
        "data": _describe_data(run),
        "settings": _settings(run),
        "command": _command(run),
        "can_fold": hasattr(run.config, "cross_validation")
        and not run.config.cross_validation.folds,
        "date": time.strftime("%Y-%m-%d"),
        "device": report.device(),
        "versions": report.versions(),
    }


def _networks(learned: Learned) -> int:
    """How many stand beside one another in the weights."""
    return len(jax.tree.leaves(learned.weights[0])[0])


def _settings(run: Run) -> Json:
    """What differs from the defaults, or was chosen or given where all others follow from the set;
    where the run writes does not matter."""
    files = {field.name for field in dataclasses.fields(FileOptions)}
    options = run.config.files
    decided = {*options.chosen, *options.given} if options.auto else set()
    every = flatten_settings(run.config)
    changed = changed_settings(run.config)
    return {
        name: changed.get(name, value)
        for name, value in every.items()
        if name not in files and (name in changed or name in decided)
    }


def _command(run: Run) -> str:
    """What was asked for; folders of this machine are left out. What is of one's own, Python alone
    can give."""
    given = dict(_settings(run))
    given.pop("eval_only", None)  # of a run that is there already
    own = {name: str(value)[4:] for name, value in given.items() if str(value).startswith("own:")}
    if own or (run.dataset.info.name not in SUMMARIES and not run.config.data.data_dir):
        return _call(run.family, {k: v for k, v in given.items() if k not in own}, own)
    folder = "DATA_DIR " if run.config.files.auto and given.pop("data_dir", "") else ""
    if folder:
        given.pop("dataset", "")
    flags = [
        f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}"
        for name, v in given.items()
    ]
    return " ".join([f"medjax {run.family}", *folder.split(), *flags])


def _call(family: str, given: Json, own: Mapping[str, str]) -> str:
    """The same as a call from Python."""
    given.pop("dataset", "")
    parts = [f"loss={v}" if k == "loss" else f"network={v}(...)" for k, v in own.items()]
    settings = [f"{name}={value!r}" for name, value in given.items()]
    return f"medjax.{family}({', '.join(['data', *parts, *settings])})"


def _describe_data(run: Run) -> Json:
    """What stands in the report of the set: sizes, classes, terms."""
    dataset = run.dataset
    info, first = dataset.info, dataset.splits["train"]
    shape = " x ".join(map(str, first.image_shape))
    return {
        "modality": "" if info.modality == "unknown" else info.modality,
        "image": f"{shape}, {first.image_dtype}",
        "licence": info.licence,
        "citation": info.citation,
        "splits": {name: count_cases(split, info) for name, split in dataset.splits.items()},
    }


def count_cases(split: Split, info: DatasetInfo) -> Json:
    """Cases, subjects, and the cases of each class."""
    counts = {"cases": len(split), "subjects": len(set(split.subject_id))}
    if info.classes and info.has_labels:
        frequency = np.bincount(split["label"], minlength=len(info.classes))
        counts |= {name: int(n) for name, n in zip(info.classes, frequency, strict=True)}
    if info.findings:
        present = np.nansum(split["findings"], 0)
        counts |= {name: int(n) for name, n in zip(info.findings, present, strict=True)}
    return counts


def timing(run: Run, meta: JsonView) -> Json:
    """What the report says of the training, also of one that was killed at its end."""
    lines = read_lines(run.workdir / "metrics.jsonl")
    ended = [line["train"] for line in lines if "train" in line]
    unknown = dict.fromkeys(("compile_seconds", "examples_per_second"))
    return next(
        (t for t in reversed(ended) if t["steps"] == run.training.steps or "ended_early" in t),
        {"steps": meta["step"], "seconds": meta["seconds"], **unknown},
    )


def by_seed(run: Run, values: list[dict[str, float]]) -> Json:
    """The metrics of each seed, and their mean with its interval."""
    return {
        "each": {str(run.training.seed + s): v for s, v in enumerate(values)},
        "mean": {name: stats.mean_interval([v[name] for v in values]) for name in values[0]},
    }

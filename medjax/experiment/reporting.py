"""A run writes its report."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medjax import weights
from medjax.evaluation import metrics, plot, report, stats
from medjax.experiment.opening import Run
from medjax.experiment.training import Learned, Method
from medjax.outputs.base import Evaluation
from medjax.tasks.base import Predictor
from medjax.train import mesh, state
from medjax.train.record import read_lines
from medjax.typing import Json, JsonView


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
) -> None:
    """Writes predictions, report and figures, and prints the table; the first process alone does.

    Args:
      score: what chose the checkpoint, for the learning curve.
      unit: as of `facts`.
      further: what the report has beside what all have.
      show: prints tables of its own.
    """
    if not mesh.is_first():
        return
    output, declared = method.predictor.output, evaluation.metrics
    wrote = evaluation.ensemble.write_files(run.workdir)
    if len(evaluation.by_seed) > 1:
        (run.workdir / "seeds").mkdir(exist_ok=True)
        for seed, table in enumerate(evaluation.by_seed, start=run.training.seed):
            table.write(run.workdir / "seeds" / f"predictions_{seed}.csv")
    result = _extended(
        {
            **facts(run, method.predictor, learned, unit=unit),
            "metrics": evaluation.ensemble.estimates(declared, samples=evaluation.samples),
            "baseline": evaluation.baseline.values(declared),
            "baseline_is": evaluation.baseline_is,
            "definitions": metrics.definitions(dict(declared)),
            "seeds": by_seed(run, [table.values(declared) for table in evaluation.by_seed]),
        },
        {**output.details(evaluation), **(further or {})},
    )
    report.write(run.workdir / "report.json", result)
    folder = draw_learning(run, score=score)
    output.draw(folder, evaluation)
    show(result)
    report.show_result(result, run.workdir, wrote=wrote)


def _extended(result: Json, details: JsonView) -> Json:
    """With more entries; tables and lists that both have stand behind one another."""
    for name, value in details.items():
        before = result.get(name)
        if isinstance(before, dict):
            result[name] = {**before, **value}
        else:
            result[name] = [*before, *value] if isinstance(before, list) else value
    return result


def draw_learning(run: Run, *, score: str, unit: str = "loss") -> Path:
    """Draws the learning curve; the folder of the figures."""
    folder = run.workdir / "figures"
    folder.mkdir(exist_ok=True)
    lines = read_lines(run.workdir / "metrics.jsonl")
    plot.learning_curve(folder / "learning_curve.png", lines, score=score, unit=unit)
    return folder


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
        "model": predictor.model,
        "of": f"ensemble of {seeds} seeds" if seeds > 1 else "one seed",
        "parameters": state.count_parameters(learned.weights[0]) // seeds,
        "best_step": meta["step"],
        "validation": meta.get("chosen_by"),
        **{name: meta[name] for name in ("choice", "chosen", "choices") if name in meta},
        "weights_sha256": hashlib.sha256((run.workdir / weights.NAME).read_bytes()).hexdigest(),
        "train": _timing(run, meta),
        "unit": unit,
        "notes": dataset.notes,
        "device": report.device(),
        "versions": report.versions(),
    }


def _timing(run: Run, meta: JsonView) -> Json:
    """What the report says of the training, also of one that was killed at its end."""
    lines = read_lines(run.workdir / "metrics.jsonl")
    ended = [line["train"] for line in lines if "train" in line]
    unknown = dict.fromkeys(("compile_seconds", "examples_per_second"))
    return next(
        (t for t in reversed(ended) if t["steps"] == run.training.steps),
        {"steps": meta["step"], "seconds": meta["seconds"], **unknown},
    )


def by_seed(run: Run, values: list[dict[str, float]]) -> Json:
    """The metrics of each seed, and their mean with its interval."""
    return {
        "each": {str(run.training.seed + s): v for s, v in enumerate(values)},
        "mean": {name: stats.mean_interval([v[name] for v in values]) for name in values[0]},
    }

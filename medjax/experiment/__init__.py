"""The recipe of a run, for scripts and notebooks: open, describe, train, evaluate, report.

    with experiment.open_run(config, "heatmap", default="brain_landmarks") as run:
        train = run.dataset.splits["train"]
        spec = experiment.describe_model(run, experiment.fit_preprocessing(run, train))
        method = experiment.Method(predictor, spec, predictor.make_task(spec), measures)
        learned = experiment.train(run, method, train, feeding=config.feeding, score="error_mm")
        evaluation = experiment.evaluate(run, method, train, learned)
        experiment.write_report(run, method, learned, evaluation, score="error_mm")

`experiments/` has one such script a family.
"""

from medjax.experiment.folds import Folds, cross_validated, join_folds
from medjax.experiment.opening import (
    Run,
    check_augmentation,
    describe_model,
    fit_preprocessing,
    open_beside,
    open_run,
    say,
)
from medjax.experiment.reporting import (
    Finished,
    by_seed,
    extend,
    facts,
    publish,
    timing,
    write_report,
)
from medjax.experiment.starting import (
    FineTuningOptions,
    Start,
    StartOptions,
    TrainedStartOptions,
    start_run,
)
from medjax.experiment.training import (
    Learned,
    Method,
    carry_out,
    evaluate,
    evaluate_tables,
    hold_workdir,
    keep_weights,
    predict,
    tabulate,
    train,
    untrained,
    validate,
)

__all__ = [
    "FineTuningOptions",
    "Finished",
    "Folds",
    "Learned",
    "Method",
    "Run",
    "Start",
    "StartOptions",
    "TrainedStartOptions",
    "by_seed",
    "carry_out",
    "check_augmentation",
    "cross_validated",
    "describe_model",
    "evaluate",
    "evaluate_tables",
    "extend",
    "facts",
    "fit_preprocessing",
    "hold_workdir",
    "join_folds",
    "keep_weights",
    "open_beside",
    "open_run",
    "predict",
    "publish",
    "say",
    "start_run",
    "tabulate",
    "timing",
    "train",
    "untrained",
    "validate",
    "write_report",
]

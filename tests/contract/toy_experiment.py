"""Mean intensities."""

import dataclasses

from medjax import experiment
from medjax.config import option, unique_names
from medjax.data.options import DataOptions
from medjax.run_options import FileOptions, ReportOptions
from medjax.train.options import FeedOptions, TrainingOptions
from tests.contract.toy import ToyPredictor


@unique_names
@dataclasses.dataclass(frozen=True)
class Config:
    dataset: str = option("", "the set")
    data: DataOptions = DataOptions()
    predictor: ToyPredictor = ToyPredictor()
    training: TrainingOptions = TrainingOptions(learning_rate=0.1)
    feeding: FeedOptions = FeedOptions()
    report: ReportOptions = ReportOptions()
    files: FileOptions = FileOptions("runs/toy")


def main(config):
    with experiment.open_run(config, "toy", default="image_folder") as run:
        train = run.dataset.splits["train"]
        spec = experiment.describe_model(run, experiment.fit_preprocessing(run, train))
        method = experiment.Method(config.predictor, spec, config.predictor.make_task(spec))
        learned = experiment.train(run, method, train, feeding=config.feeding, score="mae")
        evaluation = experiment.evaluate(run, method, train, learned)
        experiment.write_report(run, method, learned, evaluation, score="mae")

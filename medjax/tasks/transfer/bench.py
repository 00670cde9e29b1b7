"""What all arms share: images, the program of their trainings, the network that they start from."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from medjax.data.dataset import Split
from medjax.outputs.base import ModelSpec
from medjax.tasks.base import Predictor
from medjax.tasks.transfer import arms, plan
from medjax.tasks.transfer.arms import Init
from medjax.tasks.transfer.features import compute_features
from medjax.tasks.transfer.probe import Probe
from medjax.train.options import TrainingOptions
from medjax.train.run import Plan
from medjax.train.task import Task
from medjax.typing import Batch, Tree


class ClassPredictor(Predictor, Protocol):
    """The predictor of a classifier, which can make its network too."""

    def make_network(self, spec: ModelSpec) -> Any: ...


class Bench(NamedTuple):
    """See `set_up`.

    Attributes:
      plan: of a training, without data; images: what it is trained on.
      variables: of the network with the weights that arms start from.
    """

    predictor: ClassPredictor
    spec: ModelSpec
    task: Task
    train: Split
    options: TrainingOptions
    start: Callable[[Init], Init]
    plan: Plan
    images: Batch
    variables: Tree
    cache: Path
    known_by: tuple[str, ...]


def set_up(
    predictor: ClassPredictor,
    spec: ModelSpec,
    task: Task,
    train: Split,
    *,
    options: TrainingOptions,
    start: Callable[[Init], Init],
    replace: Callable[[Tree], Tree],
    evaluate: Callable[[Any], Mapping[str, float]],
    score: str,
    higher: bool,
    cache: Path,
    known_by: tuple[str, ...],
) -> Bench:
    """The program of all trainings, and the network that arms start from.

    Args:
      start: an initialisation to one with the weights; replace: the same of variables.
      evaluate, score, higher: as of `plan.plan_arms`.
      cache: the folder for features; known_by: what they depend on, beside the scaling: digests of
        the set and of the weights.
    """
    of_all = plan.plan_arms(
        task, train, options=options, evaluate=evaluate, score=score, higher=higher
    )
    return Bench(
        predictor,
        spec,
        task,
        train,
        options,
        start,
        of_all,
        plan.load_images(train),
        arms.begin_variables(task.init, replace),
        cache,
        (*known_by, predictor.model),
    )


def fit_probes(bench: Bench, size: str) -> tuple[Probe, str]:
    """The probe of each seed, on features of images as they are, and the decays that they have."""
    table = compute_features(
        bench.predictor.make_network(bench.spec),
        bench.variables,
        bench.spec.preprocessing,
        bench.train,
        batch=bench.options.batch,
        what="train",
        cache=bench.cache,
        known_by=bench.known_by,
    )
    keys = plan.data_keys(bench.options)
    probes, decays = arms.fit_size(table, bench.train["label"], keys, size)
    return probes, ", ".join(f"{d:g}" for d in decays)


def gather_data(bench: Bench, size: str) -> Batch:
    """What all arms of a size are trained on."""
    examples = plan.name_examples(bench.train["label"], size, bench.options)
    return {**bench.images, **examples}


def plan_arm(bench: Bench, name: str, probes: Probe | None, data: Batch) -> Plan:
    """The training of one arm on the data of one size."""
    init = bench.task.init if name == arms.SCRATCH else bench.start(bench.task.init)
    if name == arms.PROBED and probes is not None:
        init = arms.with_probes(init, probes, plan.seed_keys(bench.options))
    return plan.of_arm(bench.plan, init, data, options=bench.options)

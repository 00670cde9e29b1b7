"""The contract of a method: a frozen dataclass of what its answers depend on, with `make_task`."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from medjax import models
from medjax.config import option
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.outputs.base import Answer, Input, ModelSpec, Output, Predicted, Weights
from medjax.train import predict, step
from medjax.train.task import Task
from medjax.typing import Array, Key, Params, Stats, Tree


class Predictor(Protocol):
    """What a bundle holds beside weights. Its fields are settings, as plain data.

    Attributes:
      output: the output kind.
      model: the network, in words.
    """

    @property
    def output(self) -> Output[Any]: ...

    @property
    def model(self) -> str: ...

    def make_task(self, spec: ModelSpec) -> Task:
        """What the network does; further options, which are keywords, matter to training alone.

        Raises:
          UserError: for settings that do not fit the set.
        """
        ...


def name_own(thing: Any) -> str:
    """How reports call a network or loss that only its author has; a loss may have no name."""
    return f"own:{getattr(thing, '__name__', 'loss')}"


def with_network(predictor: Any, network: Any, field: str = "model") -> Any:
    """The predictor with a network of one's own, which stands in reports as `own:CLASS`; the same
    where there is none."""
    if network is None:
        return predictor
    names = {field: name_own(type(network))}
    return dataclasses.replace(predictor, own_network=network, **names)


def tta_option(answers: str) -> Any:
    """The number of views; `answers` is what is averaged over them."""
    text = f"test-time augmentation: {answers} are the mean over so many random views; 1: none"
    return option(1, text, least=1, formerly="views", answers=True)


def apply_network(
    model: Any, params: Params, stats: Stats, images: Array, *, train: bool, key: Key | None = None
) -> tuple[Any, Stats]:
    """What a network makes of images `[batch, *space, channel]`, and its batch statistics after it.

    Args:
      key: of dropout; None: there is none.
    """
    answer, updated = model.apply(
        {"params": params, "batch_stats": stats},
        images,
        train=train,
        mutable=["batch_stats"],
        rngs=None if key is None else {"dropout": key},
    )
    return answer, updated.get("batch_stats", stats)


_MOST_VIEWS = 1000  # of a stranger's bundle too: each is a pass of the network


def check_views(count: int) -> None:
    """Raises UserError for more views of an image than a network is asked for."""
    if count > _MOST_VIEWS:
        raise UserError(f"`tta={count}`: at most {_MOST_VIEWS}")


def mirror_option() -> Any:
    """The axes over which predictions are averaged, both ways."""
    text = "predictions are the mean over these axes mirrored, comma-separated"
    return option((), text, item=int, answers=True)


def check_mirror(mirror: tuple[int, ...], *, axes: int) -> None:
    """Raises UserError for axes that an input has not, or that are named twice."""
    if len(set(mirror)) < len(mirror) or any(not 0 <= axis < axes for axis in mirror):
        raise UserError(f"`mirror`: name axes once each; the network's input has 0 to {axes - 1}")


def mean_over_views(view: Callable[[tuple[int, ...]], Tree], mirror: tuple[int, ...]) -> Tree:
    """The mean of `view(axes)` over all sets of mirrored axes; in a batch the first of space is 1.

    Args:
      view: the answer `[batch, ...]` to images that are mirrored along these axes, turned back.
    """
    ways = [
        tuple(1 + axis for axis in some)
        for count in range(len(mirror) + 1)
        for some in itertools.combinations(mirror, count)
    ]
    total = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), map(view, ways))
    return jax.tree.map(lambda x: x / len(ways), total)


def own_network_name(predictor: Any) -> str:
    """The name of a network that only its author has, handed over or registered; else empty."""
    names = [  # of the settings that choose from what can be registered
        getattr(predictor, f.name)
        for f in dataclasses.fields(predictor)
        if isinstance(f.metadata.get("choices"), dict)
    ]
    own = (n.removeprefix("own:") for n in names if n not in models.BUILT_IN)
    return next((n for n in own if n.isidentifier()), "")


def missing_network(predictor: Any) -> str:
    """The same, where it was neither handed over nor registered here."""
    given = getattr(predictor, "own_network", None) is not None
    registries = {
        **models.CLASSIFIERS,
        **models.LANDMARKERS,
        **models.SEGMENTERS,
        **models.REGISTRATORS,
    }
    name = own_network_name(predictor)
    return "" if given or name in registries else name


def inputs_of(predictor: Predictor, spec: ModelSpec) -> list[Input]:
    """What the network takes of one example."""
    return predictor.output.prepare.inputs(spec)


def predict_ensemble(predictor: Predictor, spec: ModelSpec) -> Callable[..., Predicted]:
    """The answer of all seeds together, `(params, stats, *inputs)`; pure."""
    task, output = predictor.make_task(spec), predictor.output
    columns = [given.column for given in inputs_of(predictor, spec)]
    by_seed = step.over_seeds(task.predict, (0, 0, None))

    def predict_all(params: Tree, stats: Tree, *inputs: Any) -> Predicted:
        batch = dict(zip(columns, inputs, strict=True))
        return output.ensemble(by_seed(params, stats, batch), spec)

    return predict_all


def compile_answers(
    predictor: Predictor, spec: ModelSpec, *, batch: int
) -> Callable[[Weights, Split], Sequence[Answer]]:
    """The compiled function from weights and new images to answers, so many at a time."""
    output = predictor.output
    compiled = predict.compile_predict(predictor.make_task(spec).predict)
    columns = [given.column for given in inputs_of(predictor, spec) if given.column != "image"]

    def answer(weights: Weights, split: Split) -> Sequence[Answer]:
        answers = output.infer(
            predictor, compiled, weights, split, spec, columns=columns, batch=batch
        )
        return output.answer(output.tabulate(split, spec, answers.ensemble), split)

    return answer

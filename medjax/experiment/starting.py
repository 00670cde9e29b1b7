"""Weights that a training starts from, and how images are scaled for them."""

import dataclasses
import hashlib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax import schema, weights
from medjax.config import option
from medjax.errors import UserError
from medjax.experiment.opening import Run, say
from medjax.models import pretrained, tensor_files
from medjax.models.features import HEAD, list_layers
from medjax.models.published import PUBLISHED, SCALINGS, Scaling
from medjax.ops.preprocess import Preprocessing
from medjax.train.optim import LayerRate, decay_layers
from medjax.train.task import Task
from medjax.typing import Json, Key, Params, Stats, Tree
from medjax.workdir import read_settings

_HUB = "hub:"
_OWN = f"params/{HEAD}/"  # which a network keeps: that of other classes
OF_SET = "set"  # images are scaled by the training set, as those of an untrained network

Init = Callable[[Key], tuple[Params, Stats]]


@dataclasses.dataclass(frozen=True)
class StartOptions:
    """Which weights a training starts from."""

    init_from: str = option(
        "",
        f"weights to start from: {', '.join(PUBLISHED)}; a file (.safetensors, .npz, .pth), or one "
        "of the Hugging Face Hub, as hub:ORGANISATION/NAME/FILE; the work directory of a run; or a "
        "bundle",
        path=True,
    )
    init_scaling: str = option(
        "",
        "how a file of weights wants images scaled; set: as the training set has them",
        choices=("", *SCALINGS, OF_SET),
    )

    def __post_init__(self) -> None:
        if self.init_scaling and not self.init_from:
            raise UserError("`init_scaling` is for weights to start from: give `init_from`")


@dataclasses.dataclass(frozen=True)
class TrainedStartOptions:
    """Which training a training goes on from, of networks whose every layer may be taken."""

    init_from: str = option(
        "",
        "weights to start from: the work directory of a run of the same network, or a bundle; its "
        "last layers start anew where they have another number of answers",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class FineTuningOptions:
    """How a network that starts from weights is trained on."""

    layer_decay: float = option(
        1.0, "fine-tuning: factor of the learning rate from a layer to the one below it", least=0
    )
    unfreeze_steps: int = option(
        0,
        "fine-tuning: updates until all layers are trained, the last from the start; 0: all are",
        least=0,
    )
    keep_statistics: bool = option(
        False, "fine-tuning: batch statistics stay those of the weights; without dropout"
    )

    def __post_init__(self) -> None:
        if self.layer_decay > 1:
            raise UserError("`layer_decay`: at most 1, which trains all layers alike")

    def rates(self, network: Any, image_shape: tuple[int, ...]) -> dict[str, LayerRate] | None:
        """How each layer of a network is trained; None: all alike."""
        if self.layer_decay == 1 and not self.unfreeze_steps:
            return None
        layers = list_layers(network, image_shape)
        return decay_layers(layers, decay=self.layer_decay, unfreeze_steps=self.unfreeze_steps)


class Start(NamedTuple):
    """Weights that were found, or none.

    Attributes:
      scaling: how they want pixels; None: as the training set has them.
      facts: what the report says of them.
      replace: variables of a fresh network to those with these weights below its last layer.
      list_resized: paths of what starts anew, of (params, stats), as it has other answers.
    """

    scaling: Scaling | None = None
    facts: Mapping[str, Any] = types.MappingProxyType({})
    replace: Callable[[Mapping[str, Any]], Any] = dict
    list_resized: Callable[[Tree], list[str]] = lambda tree: []

    def scale(self, fitted: Preprocessing, *, channels: int) -> Preprocessing:
        """The range of the set, and the scaling of the weights.

        Gray images are repeated for weights of coloured ones; where these scale all channels alike
        they stay one channel, and the first kernels are summed.

        Args:
          channels: of the images.

        Raises:
          UserError: for coloured images and weights of gray ones.
        """
        if self.scaling is None:
            return fitted
        mean, sd = self.scaling
        if channels == 1 and len(set(zip(mean, sd, strict=True))) == 1:
            mean, sd = mean[:1], sd[:1]
        if channels not in (1, len(mean)):
            raise UserError(
                f"`init_from`: weights for {len(mean)} channels, images of {channels}: give "
                f"`channels={'gray' if len(mean) == 1 else 'rgb'}`"
            )
        return dataclasses.replace(fitted, mean=mean, sd=sd)

    def init(self, init: Init) -> Init:
        """The same initialisation, with these weights below the last layer."""

        def init_from_weights(key: Key) -> tuple[Params, Stats]:
            params, stats = init(key)
            variables = self.replace({"params": params, "batch_stats": stats})
            return variables["params"], variables.get("batch_stats", {})

        return init_from_weights

    def begin(self, task: Task) -> Task:
        """The task, whose weights start from these; says which of them do not."""
        if not self.facts:
            return task
        resized = self.list_resized(jax.eval_shape(task.init, jax.random.key(0)))
        if resized:
            say(f"note: of another number of answers than the weights: {', '.join(resized)} anew")
        return task._replace(init=self.init(task.init))


def start_run(run: Run, options: StartOptions | TrainedStartOptions, *, model: str = "") -> Start:
    """The weights of `find_start` or `find_training` for a run, which from here on goes on from
    these alone; says where they may have been trained on cases that it reports."""
    if isinstance(options, TrainedStartOptions):
        start = find_training(options)
    else:
        start = find_start(options, model=model)
    if start is None:
        return Start()
    run.depends_on["started_from"] = start.facts["sha256"]
    run.started_from.update(start.facts)
    digest, info = start.facts.get("data_sha1"), run.dataset.info
    if start.facts.get("trained_on") == info.name and digest != run.dataset.digest:
        note = f"trained on {info.name} too, maybe in other splits: on cases that are reported here"
        say(f"note: the weights to start from were {note}")
        run.started_from["note"] = note
    return start


def find_training(options: TrainedStartOptions) -> Start | None:
    """The weights of a run or bundle, all of them; None where the options name none.

    Raises:
      UserError: if there are none, or they cannot be read.
    """
    if not options.init_from:
        return None
    path = Path(options.init_from)
    start = _find_trained(path, "", head=True)
    if start is None:
        there = "is neither" if path.exists() else "no such file or folder"
        raise UserError(
            f"`init_from={path}`: {there}; name the work directory of a run, or a bundle"
        )
    return start


def find_start(options: StartOptions, *, model: str) -> Start | None:
    """The weights that the options name, for the network `model`; None where they name none.

    Raises:
      UserError: if there are none, they cannot be read, or it is not known how they want images.
    """
    init_from, scaling = options.init_from, options.init_scaling
    if not init_from:
        return None
    if init_from in PUBLISHED:
        return _find_published(init_from, model, scaling)
    if init_from.startswith(_HUB):
        return _find_on_hub(init_from.removeprefix(_HUB), scaling)
    path = Path(init_from)
    trained = _find_trained(path, scaling, head=False)
    if trained:
        return trained
    if not path.exists():
        known = ", ".join(PUBLISHED)
        raise UserError(f"`init_from={init_from}`: no such file or folder; known by name: {known}")
    _check_scaling(init_from, scaling)
    return _of_tensors(path, SCALINGS.get(scaling), {"weights": path.name, "scaling": scaling})


def _check_scaling(init_from: str, scaling: str) -> None:
    if not scaling:
        raise UserError(
            f"`init_from={init_from}`: how do these weights want images scaled? Give "
            f"`init_scaling`, one of {', '.join(SCALINGS)}, or {OF_SET} for that of your set"
        )


def _find_on_hub(name: str, scaling: str) -> Start:
    """Of a file, by organisation, repository and its path there."""
    from medjax.bundle import hub

    parts = name.split("/")
    if len(parts) < 3 or not all(parts):
        raise UserError(
            f"`init_from={_HUB}{name}`: give {_HUB}ORGANISATION/NAME/FILE, as "
            f"{_HUB}timm/resnet18.a1_in1k/model.safetensors"
        )
    _check_scaling(_HUB + name, scaling)
    repository = "/".join(parts[:2])
    path, revision = hub.fetch_file(repository, "/".join(parts[2:]))
    facts = {"weights": name, "source": f"the Hub, revision {revision}", "scaling": scaling}
    return _of_tensors(path, SCALINGS.get(scaling), facts)


def _find_published(name: str, model: str, scaling: str) -> Start:
    row = PUBLISHED[name]
    if model != row.model:
        raise UserError(f"`init_from={name}`: weights of {row.model}; give `model={row.model}`")
    if scaling not in ("", row.scaling):
        raise UserError(f"`init_scaling={scaling}`: {name} wants {row.scaling}; leave it out")
    facts = {"weights": name, "source": row.source, "licence": row.licence, "scaling": row.scaling}
    return _of_tensors(row.check(), SCALINGS[row.scaling], {**facts, "side": row.side})


def _of_tensors(path: Path, scaling: Scaling | None, facts: Json) -> Start:
    tensors = tensor_files.read(path)
    return Start(
        scaling,
        {**facts, "sha256": _digest(path)},
        lambda fresh: pretrained.from_torch(fresh, tensors, head=False),
    )


def _find_trained(path: Path, scaling: str, *, head: bool) -> Start | None:
    """Of a bundle or a run; None for other files.

    Args:
      head: whether the last layer is taken too.
    """
    from medjax import bundle  # here, as most trainings start without one

    if path.suffix == ".zip" or (path / bundle.ABOUT).exists():
        return _find_bundle(path, scaling, head=head)
    return _find_run(path, scaling, head=head) if path.is_dir() else None


def _find_run(path: Path, scaling: str, *, head: bool) -> Start:
    """Of the first seed."""
    if scaling:
        raise UserError("`init_scaling`: a run knows how its weights want images; leave it out")
    settings = read_settings(path) or {}
    about = settings.get("trained")
    file = path / weights.NAME
    if not isinstance(about, dict) or not file.exists():
        raise UserError(f"`init_from={path}`: holds no run that has ended")
    fitted = schema.read(Preprocessing, about.get("preprocessing"), where=f"{path}: preprocessing")
    facts = {
        "weights": path.name,
        "source": f"a run on {settings.get('dataset')}",
        "trained_on": settings.get("dataset"),
        "data_sha1": settings.get("data_sha1"),
    }
    facts |= {"scaling": "of that run", "sha256": _digest(file)}
    return _of_training(weights.read_first_seed(path), fitted, facts, where=file, head=head)


def _find_bundle(path: Path, scaling: str, *, head: bool) -> Start:
    """Of the first seed of a bundle, which is verified."""
    if scaling:
        raise UserError("`init_scaling`: a bundle knows how its weights want images; leave it out")
    from medjax import bundle

    known = bundle.load(path, answers=False)
    content = known.files[weights.NAME]
    arrays = weights.parse(content, where=str(path))
    name = known.spec.info.name
    facts = {"weights": path.name, "source": f"a bundle, trained on {name}", "trained_on": name}
    facts |= {"scaling": "of that bundle", "sha256": hashlib.sha256(content).hexdigest()}
    first = weights.first_seed(arrays)
    return _of_training(first, known.spec.preprocessing, facts, where=path, head=head)


def _of_training(
    arrays: Mapping[str, np.ndarray], fitted: Preprocessing, facts: Json, *, where: Path, head: bool
) -> Start:
    """Weights of medjax's own."""

    def list_resized(tree: Tree) -> list[str]:
        return weights.list_resized(arrays, tree) if head else []

    def replace(fresh: Mapping[str, Any]) -> Any:
        tree = (fresh["params"], fresh["batch_stats"])
        own = tuple(list_resized(tree)) if head else _OWN
        params, stats = weights.fit(arrays, tree, where=str(where), own=own)
        return {"params": params, "batch_stats": stats}

    return Start(Scaling(fitted.mean, fitted.sd), facts, replace, list_resized)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

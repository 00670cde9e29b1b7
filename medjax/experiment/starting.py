"""Weights that a training starts from, and how images are scaled for them."""

import dataclasses
import hashlib
import json
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
_BYTES = (0.0, 255.0)
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
      limits: pixel values that become 0 and 1 for them; None: those of the training set.
      facts: what the report says of them.
      replace: variables of a fresh network to those with these weights below its last layer.
      list_resized: paths of what starts anew, of (params, stats), as it has other answers.
    """

    scaling: Scaling | None = None
    facts: Mapping[str, Any] = types.MappingProxyType({})
    replace: Callable[[Mapping[str, Any]], Any] = dict
    list_resized: Callable[[Tree], list[str]] = lambda tree: []
    limits: tuple[float, float] | None = None

    def scale(self, fitted: Preprocessing, *, channels: int) -> Preprocessing:
        """The scaling of the weights, and their limits unless either these or those of the set are
        of 8 bits, and the others not.

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
        limits = low, high = fitted.low, fitted.high
        if self.limits and (self.limits == _BYTES) == (limits == _BYTES):
            low, high = self.limits
        return Preprocessing(low, high, mean, sd)

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
        init, key = self.init(task.init), jax.random.key(0)
        jax.eval_shape(init, key)  # which fails where they do not fit
        resized = self.list_resized(jax.eval_shape(task.init, key))
        if resized:
            say(f"note: of another number of answers than the weights: {', '.join(resized)} anew")
        return task._replace(init=init)


def start_run(
    run: Run,
    options: StartOptions | TrainedStartOptions,
    *,
    model: str = "",
    own: tuple[str, ...] = (),
    once: bool = False,
) -> Start:
    """The weights of `find_start` or `find_training` for a run, which from here on goes on from
    these alone; says where they may have been trained on cases that it reports.

    Args:
      once: whether they are needed for the first update alone, so that with `eval_only` it is
        enough what the work directory says of them.
    """
    if once and run.config.report.eval_only:
        return _of_workdir(run)
    if isinstance(options, TrainedStartOptions):
        start = find_training(options, own=own)
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


def _of_workdir(run: Run) -> Start:
    """What a run that has been trained says of the weights that it has started from."""
    settings = read_settings(run.workdir) or {}
    digest = settings.get("started_from")
    if digest is None:
        return Start()
    run.depends_on["started_from"] = digest
    path = run.workdir / "report.json"
    reported = json.loads(path.read_text()).get("started_from") if path.exists() else None
    facts = reported or {"weights": "no longer at hand", "sha256": digest}
    run.started_from.update(facts)
    return _scaled(_read_scaling(settings, where=run.workdir), facts)


def find_training(options: TrainedStartOptions, *, own: tuple[str, ...] = ()) -> Start | None:
    """The weights of a run or bundle, all of them; None where the options name none.

    Args:
      own: paths of what is no layer: it stays that of the fresh network.

    Raises:
      UserError: if there are none, or they cannot be read.
    """
    if not options.init_from:
        return None
    path = Path(options.init_from)
    start = _find_trained(path, "", own)
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
    trained = _find_trained(path, scaling, None)
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


def _find_trained(path: Path, scaling: str, own: tuple[str, ...] | None) -> Start | None:
    """Of a bundle or a run, the first seed; None for other files.

    Args:
      own: as of `find_training`; None: the last layer of a classifier.
    """
    from medjax import bundle  # here, as most trainings start without one

    is_bundle = path.suffix == ".zip" or (path / bundle.ABOUT).exists()
    if not is_bundle and not path.is_dir():
        return None
    if scaling:
        what = "bundle" if is_bundle else "run"
        raise UserError(f"`init_scaling`: a {what} knows how its weights want images; leave it out")
    return _find_bundle(path, own) if is_bundle else _find_run(path, own)


def _find_run(path: Path, own: tuple[str, ...] | None) -> Start:
    settings, file = read_settings(path) or {}, path / weights.NAME
    about = settings.get("trained")
    if not isinstance(about, dict) or not file.exists():
        raise UserError(f"`init_from={path}`: holds no run that has ended")
    name = (about.get("info") or {}).get("name", settings.get("dataset"))
    facts = {
        "weights": path.name,
        "source": f"a run on {name}",
        "trained_on": name,
        "data_sha1": settings.get("data_sha1"),
        "scaling": "of that run",
        "sha256": _digest(file),
    }
    start = _scaled(_read_scaling(settings, where=path), facts)
    return _with_weights(start, weights.read_first_seed(path), own, where=file)


def _find_bundle(path: Path, own: tuple[str, ...] | None) -> Start:
    """Of a bundle, which is verified."""
    from medjax import bundle

    known = bundle.load(path, answers=False)
    content = known.files[weights.NAME]
    arrays = weights.parse(content, where=str(path))
    name = known.spec.info.name
    facts = {
        "weights": path.name,
        "source": f"a bundle, trained on {name}",
        "trained_on": name,
        "scaling": "of that bundle",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    start = _scaled(known.spec.preprocessing, facts)
    return _with_weights(start, weights.first_seed(arrays), own, where=path)


def _read_scaling(settings: Json, *, where: Path) -> Preprocessing:
    """How a run, by its settings, has scaled images."""
    about = settings["trained"].get("preprocessing")
    return schema.read(Preprocessing, about, where=f"{where}: preprocessing")


def _scaled(fitted: Preprocessing, facts: Json) -> Start:
    """A start whose images are scaled so, as yet without weights."""
    return Start(Scaling(fitted.mean, fitted.sd), facts, limits=(fitted.low, fitted.high))


def _with_weights(
    start: Start, arrays: Mapping[str, np.ndarray], own: tuple[str, ...] | None, *, where: Path
) -> Start:
    """The start with weights of medjax's own."""

    def list_resized(tree: Tree) -> list[str]:
        layers = {k: v for k, v in arrays.items() if not k.startswith(own or ())}
        return [] if own is None else weights.list_resized(layers, tree)

    def replace(fresh: Mapping[str, Any]) -> Any:
        tree = (fresh["params"], fresh["batch_stats"])
        kept = (_OWN,) if own is None else (*own, *list_resized(tree))
        try:
            params, stats = weights.fit(arrays, tree, where=str(where), own=kept)
        except UserError as e:
            raise UserError(f"{e}: give the `model` and all its sizes that these are of") from None
        return {"params": params, "batch_stats": stats}

    return start._replace(replace=replace, list_resized=list_resized)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""One call a command, for scripts and notebooks, with one's own arrays, network and loss.

    import medjax

    data = medjax.Dataset.from_arrays(images, labels, subjects=patients)
    result = medjax.classify(data, network=MyNet(), workdir="runs/mine", steps=500)
    result                        # the table, with intervals
    result.figure("roc_pr")       # in the notebook
    result.predict(image)
    result.share("mine.zip")
    medjax.load("mine.zip", network=MyNet()).predict(image)

Of one's own images, what is not given is chosen from them and the device, and printed with its
reason.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np

from medjax.__main__ import load_program
from medjax.config import configure, list_settings, remember_given
from medjax.data import catalogue, source
from medjax.data.dataset import Dataset
from medjax.data.dense_transform import DenseTransform
from medjax.data.options import BoxOptions, DataOptions, LandmarkOptions, MaskOptions
from medjax.data.pair_options import PairOptions
from medjax.data.sequence_options import SequenceOptions
from medjax.errors import UserError, unknown
from medjax.experiment import Finished
from medjax.losses import LossFunction
from medjax.result import Result
from medjax.tasks.base import name_own
from medjax.typing import Json

Source = str | Path | Dataset
Image = str | Path | np.ndarray
_KINDS = {
    "labels": DataOptions,
    "landmarks": LandmarkOptions,
    "masks": MaskOptions,
    "boxes": BoxOptions,
    "frames": SequenceOptions,
    "pairs": PairOptions,
}


def open_dataset(
    data: str | Path, *, finds: str = "", cache_dir: str | Path = "~/.cache/medjax", **options: Any
) -> Dataset:
    """Opens a set: a folder or table of one's own, or one that medjax knows by name.

    Args:
      data: the folder or table, or the name; `medjax datasets` lists the names.
      finds: `labels`, `landmarks`, `masks`, `boxes`, `frames` or `pairs`; empty: what the
        set looks like.
      cache_dir: where it is prepared, once.
      options: those of `DataOptions`, `LandmarkOptions`, `MaskOptions` or `SequenceOptions`, as
        `image_size=64`.

    Raises:
      UserError: for whatever is wrong with name, options or files.
    """
    path = Path(data).expanduser()
    if str(data) in catalogue.REGISTERED and not path.exists():
        return source.load(str(data), options=DataOptions(), cache_dir=cache_dir)
    known: dict[str, str] = {}  # of a name that several kinds have, the first
    for k, o in _KINDS.items():
        known |= {n: k for n in catalogue.kind_of(o()).builders() if n not in known}
    is_name = str(data) in known and not path.exists()
    if finds and finds not in _KINDS:
        raise unknown("kind of set", finds, _KINDS)
    kind = _KINDS[finds or known[str(data)]] if finds or is_name else catalogue.find_kind(path)
    where = {} if is_name else {"data_dir": str(path)}
    made = configure(kind, **{**where, **options})
    name = str(data) if is_name else catalogue.infer(made)
    return source.load(name, options=made, cache_dir=Path(cache_dir).expanduser(), say=print)


def register_dataset(name: str, make: Any) -> None:
    """Makes a set of one's own known by name, as to `--dataset`.

    Args:
      name: an identifier that no set of medjax has; a set of yours is replaced.
      make: `make() -> Dataset`, as by `Dataset.from_arrays`; called when the set is opened.

    Raises:
      UserError: for a name or a function that cannot be.
    """
    catalogue.register(name, make)


def classify(
    data: Source = "",
    *,
    network: Any = None,
    loss: LossFunction | str | None = None,
    **settings: Any,
) -> Result:
    """Trains a classifier, and evaluates it; what `medjax classify` does.

    Args:
      data: a folder or table, the name of a set, or a `Dataset`; empty: the default set.
      network: a linen module of one's own, with `__call__(x, train)`, from `[batch, *space,
        channel]` to logits `[batch, num_classes]`; None: `model` names one.
      loss: `loss(logits, target)` of one example, both `[num_classes]`, or the name of one; None:
        cross-entropy.
      settings: the flags of `medjax classify --helpfull`, as `steps=500`; `auto=False` takes the
        defaults of all others.

    Raises:
      UserError: for whatever is wrong with set, network or settings.
    """
    return _run("classify", data, settings, network=network, loss=loss)


def transfer(data: Source = "", **settings: Any) -> Result:
    """Measures what weights of another set add to a classifier; what `medjax transfer` does.

    Args:
      data: as of `classify`; settings: the flags of `medjax transfer --helpfull`.

    Raises:
      UserError: for whatever is wrong with set, weights or settings.
    """
    return _run("transfer", data, settings)


def pretrain(data: Source = "", **settings: Any) -> Result:
    """Trains a network without labels; what `medjax pretrain` does.

    Args:
      data: as of `classify`; settings: the flags of `medjax pretrain --helpfull`.

    Raises:
      UserError: for whatever is wrong with set or settings.
    """
    return _run("pretrain", data, settings)


def retrieve(data: Source = "", **settings: Any) -> Result:
    """Finds the training cases that look like other ones; what `medjax retrieve` does.

    Args:
      data: as of `classify`; settings: the flags of `medjax retrieve --helpfull`.

    Raises:
      UserError: for whatever is wrong with set or settings.
    """
    return _run("retrieve", data, settings)


def heatmap(
    data: Source = "",
    *,
    network: Any = None,
    loss: LossFunction | str | None = None,
    **settings: Any,
) -> Result:
    """Trains a network that finds landmarks, and evaluates it; what `medjax heatmap` does.

    Args:
      data: as of `classify`.
      network: from `[batch, *space, channel]` to maps `[batch, *space, num_landmarks]`.
      loss: `loss(map, target)` of one landmark, both `[*space]`, or `l2` or `cross_entropy`.
      settings: the flags of `medjax heatmap --helpfull`.

    Raises:
      UserError: for whatever is wrong with set, network or settings.
    """
    return _run("heatmap", data, settings, network=network, loss=loss)


def segment(data: Source = "", *, network: Any = None, **settings: Any) -> Result:
    """Trains a network that segments images, and evaluates it; what `medjax segment` does.

    Args:
      data: as of `classify`.
      network: from `[batch, *patch, channel]` to logits `[batch, *patch, 1 + structures]`, the
        background first.
      settings: the flags of `medjax segment --helpfull`.

    Raises:
      UserError: for whatever is wrong with set, network or settings.
    """
    return _run("segment", data, settings, network=network)


def detect(data: Source = "", **settings: Any) -> Result:
    """Trains a network that detects things in boxes, and evaluates it; what `medjax detect` does.

    Args:
      data: as of `classify`; settings: the flags of `medjax detect --helpfull`.

    Raises:
      UserError: for whatever is wrong with set or settings.
    """
    return _run("detect", data, settings)


@overload
def register(data: Source = "", moving: None = None, **settings: Any) -> Result: ...


@overload
def register(data: Image, moving: Image, **settings: Any) -> DenseTransform: ...


def register(
    data: Source | Image = "", moving: Image | None = None, **settings: Any
) -> Result | DenseTransform:
    """Registers a set of pairs, as `medjax register` does; or, of two images, one pair.

    Args:
      data: as of `classify`; with `moving` the fixed image, a file or an array `[*space]`.
      moving: the moving image, a file or an array; None: `data` is a set.
      settings: the flags of `medjax register --helpfull`; `network=` one of your own. Of two images
        those of `AlignmentOptions`, as `affine="rigid"` or `similarity="mi"`, `initial`, and of
        arrays `fixed_affine` and `moving_affine`, from voxels `[i, j, k]` to RAS mm.

    Returns:
      The result; of two images the transform between them.

    Raises:
      UserError: for whatever is wrong with the images or settings.
    """
    if moving is None:
        network = settings.pop("network", None)
        return _run("register", data, settings, network=network)  # type: ignore[arg-type]
    from medjax.tasks.registration.pair import register_images

    if isinstance(data, Dataset):
        raise UserError("a set and `moving`: give two images, or the set alone")
    return register_images(data, moving, **settings)


def search(data: Source = "", **settings: Any) -> Result:
    """Trains agents that search for landmarks, and evaluates them; what `medjax search` does.

    Args:
      data: as of `classify`; settings: the flags of `medjax search --helpfull`.

    Raises:
      UserError: for whatever is wrong with set or settings.
    """
    return _run("search", data, settings)


def temporal(data: Source = "", *, network: Any = None, **settings: Any) -> Result:
    """Trains a network that finds frames in sequences; what `medjax temporal` does.

    Args:
      data: as of `classify`.
      network: the encoder of a frame, from `[batch, height, width, channel]` to `[batch,
        features]`.
      settings: the flags of `medjax temporal --helpfull`.

    Raises:
      UserError: for whatever is wrong with set, network or settings.
    """
    return _run("temporal", data, settings, network=network)


def _run(family: str, data: Source, settings: Mapping[str, Any], **own: Any) -> Result:
    program = load_program(family)
    if isinstance(own.get("loss"), str):
        settings = {**settings, "loss": own.pop("loss")}
    _check_source(program.Config, data, settings, own)
    given = {
        **settings,
        **_source_settings(program.Config, data),
        **_own_names(program.Config, own),
    }
    registered = given.get("dataset") in catalogue.REGISTERED
    is_own = isinstance(data, Dataset) or "data_dir" in given or registered
    config = configure(program.Config, **{"auto": is_own, **given})
    config = remember_given(config, list(given))
    parts = {name: part for name, part in own.items() if part is not None}
    if isinstance(data, Dataset):
        parts["dataset"] = data
    done: Finished = program.main(config, **parts)
    return Result(done.workdir, done.report, done.evaluation.ensemble, own.get("network"))


def _check_source(
    config: type, data: Any, settings: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    """Raises UserError for what does not go together."""
    if not isinstance(data, (str, Path, Dataset)):
        raise UserError(
            f"data is a {type(data).__name__}: give a folder, the name of a set, or "
            "medjax.Dataset.from_arrays(images, labels)"
        )
    of_files = {leaf.name for leaf in list_settings(config) if leaf.section == "data"} | {"dataset"}
    odd = next((name for name in settings if name in of_files), None)
    if isinstance(data, Dataset) and odd:
        raise UserError(
            f"`{odd}` says how files are read; bring the arrays to that form, or leave it out"
        )
    named = next((n for n in ("model", "encoder") if n in settings), None)
    if own.get("network") is not None and named:
        raise UserError(f"`{named}` and network: give one of them")


def _source_settings(config: type, data: Source) -> dict[str, str]:
    """What `data` is, as settings."""
    if isinstance(data, Dataset) or not str(data):
        return {}
    options: Any = next(f.default for f in dataclasses.fields(config) if f.name == "data")
    known = {*catalogue.kind_of(options).builders(), *catalogue.REGISTERED}
    if str(data) in known and not Path(data).exists():
        return {"dataset": str(data)}
    return {"data_dir": str(Path(data).expanduser())}


def _own_names(config: type, own: Mapping[str, Any]) -> dict[str, str]:
    """What is of one's own, as reports call it, for the settings that name such things: those that
    choose from what can be registered."""
    registries = {
        leaf.name
        for leaf in list_settings(config)
        if isinstance(leaf.field.metadata["choices"], dict)
    }
    network, loss = own.get("network"), own.get("loss")
    names = {}
    for field in registries & {"model", "encoder"} if network is not None else ():
        names[field] = name_own(type(network))
    if loss is not None and "loss" in registries:
        names["loss"] = name_own(loss)
    return names


def compare(*runs: Result | str | Path, html: str = "", samples: int = 2000) -> Json:
    """Compares runs on the same cases, the first with each other one; what `medjax compare` does.

    Args:
      runs: results, or work directories.
      html: a page to write; empty: none.
      samples: exchanges of the paired tests.

    Returns:
      By metric `a`, `b`, their `difference` with its interval, `p_value` and `p_holm`; of more than
      two runs by the name of each first.

    Raises:
      UserError: unless all have predicted the same cases.
    """
    from medjax.tools import compare as tool

    paths = [Path(r.workdir if isinstance(r, Result) else r).expanduser() for r in runs]
    return tool.main(
        configure(tool.Config, files=tuple(map(str, paths)), html=html, samples=samples)
    )

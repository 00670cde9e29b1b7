"""How a temporal network is trained: where its weights come from, and what its loss weighs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from medjax import weights
from medjax.config import option
from medjax.data import preprocess
from medjax.data.dataset import Dataset, Split
from medjax.errors import UserError
from medjax.models import pretrained, sononet, tensor_files
from medjax.ops.preprocess import Preprocessing
from medjax.outputs.base import ModelSpec
from medjax.outputs.frames import FrameMeasures
from medjax.outputs.frames.metrics import note_absent
from medjax.tasks.temporal.predictor import TemporalPredictor
from medjax.train.options import TrainingOptions
from medjax.train.plan import make_optimizer
from medjax.train.task import Task
from medjax.typing import Key, Params, Stats

RIVAL = "per_frame"  # folder of the network without recurrence, in that of the run
_AFTER_ENCODER = ("cell", "recurrent", "convolutions", "dense", "head")


@dataclasses.dataclass(frozen=True)
class TemporalLearning:
    """Options of the training that answers do not depend on."""

    init_from: str = option(
        "",
        "where weights come from: .safetensors or .pth (ResNet, DenseNet) or .npz (SonoNet) for "
        "the encoder, or the work directory of a run",
        path=True,
    )
    encoder_rate: float = option(
        1.0, "learning rate of the encoder, as a share; 0: frozen", least=0
    )
    remat: bool = option(False, "keep less in memory, compute it twice")
    dropout: float = option(0.0, "before the encoder's last layer", least=0, below=1)
    structure: float = option(
        1.0, "curve: weight of the loss that keeps it falling and rising", least=0
    )
    balance: float = option(0.5, "planes: exponent of how rare a name is, as its weight", least=0)
    reverse: bool = option(False, "train on reversed sequences too")
    by_length: bool = option(
        False,
        "the sequences of a batch are about as long as one another, so that few frames are "
        "computed in vain; four programs are compiled",
    )
    train_window: int = option(0, "train on so many frames in a row; 0: all", least=0)
    rival: bool = option(
        True,
        "train the same encoder without recurrence too, averaged over frames, to stand in the "
        "same table",
    )

    def __post_init__(self) -> None:
        if self.train_window and self.by_length:
            raise UserError("`by_length`: with `train_window` all are as long already")
        if self.train_window == 1:
            raise UserError("`train_window=1`: a window has two frames or more")
        if self.init_from and not Path(self.init_from).exists():
            raise UserError(f"`init_from={self.init_from}`: no such file or folder")
        if self.encoder_rate == 0 and not self.init_from:
            raise UserError("`encoder_rate=0` uses the features of `init_from`; give it")

    @property
    def from_run(self) -> bool:
        """Whether weights come from another run."""
        return bool(self.init_from) and Path(self.init_from).is_dir()


def check_rival(learning: TemporalLearning) -> None:
    """Raises UserError if the run that weights come from has no rival, for this one's to start
    from."""
    if learning.from_run and not Path(learning.init_from, RIVAL, weights.NAME).exists():
        raise UserError(
            f"`init_from={learning.init_from}`: that run has no rival, for the rival of this one "
            "to start from; give `rival=false`"
        )


def check_set(
    dataset: Dataset,
    predictor: TemporalPredictor,
    learning: TemporalLearning,
    measures: FrameMeasures,
) -> None:
    """Raises UserError for settings that do not fit the set."""
    info, frames = dataset.info, predictor.task == "frames"
    if predictor.loss == "curve" and len(info.frames) != 2:
        raise UserError(
            f"`loss=curve` is for two names, ED and ES; {info.name} has "
            f"{', '.join(info.frames)}: give `loss=time`"
        )
    if info.cyclic and learning.train_window:
        raise UserError(f"`train_window`: the sequences of {info.name} are whole cycles")
    for name, split in dataset.splits.items():
        several = np.argwhere(split["marks"].sum(1) > 1)
        if frames and len(several):
            i, j = several[0]
            raise UserError(
                f"{split.case_id[i]} of {name} has several frames called {info.frames[j]}; give "
                "`task=planes`"
            )
        unknown = np.isnan(split["frame_ms"])
        if frames and measures.units == "ms" and unknown.any():
            raise UserError(
                f"{split.case_id[int(unknown.argmax())]} of {name}: the time between its frames is "
                "not known; give the column frame_ms, `frame_ms`, or `units=frames`"
            )


def note_planes(dataset: Dataset, predictor: TemporalPredictor) -> list[str]:
    """Notes of planes that a split lacks, on which they are judged."""
    if predictor.task != "planes":
        return []
    return [
        note
        for name in dict.fromkeys(("validation", dataset.report_split))
        for note in note_absent(dataset.splits[name]["marks"], dataset.info.frames, split=name)
    ]


def fit_preprocessing(train: Split, *, init_from: str) -> Preprocessing:
    """How pixels are scaled, from the real frames of the training split."""

    def read(index: Any) -> np.ndarray:
        return np.concatenate([train.read(int(i))[: train["length"][i]] for i in index])

    scaling = preprocess.fit(read, len(train))
    if not init_from.endswith(".npz"):
        return scaling
    # The authors of SonoNet give their network a standard deviation of 255.
    return dataclasses.replace(scaling, sd=tuple(s / 255 for s in scaling.sd))


def make_training_task(
    predictor: TemporalPredictor,
    spec: ModelSpec,
    learning: TemporalLearning,
    train: Split,
) -> Task:
    """The task of a predictor, its weights from where the options say."""
    share = train["marks"].sum((0, 1)) / train["length"].sum()
    rarity = ((1 - share) / np.maximum(share, 1e-9)) ** learning.balance
    frozen = learning.encoder_rate == 0
    task = predictor.make_task(
        spec,
        dropout=learning.dropout,
        remat=learning.remat,
        window=learning.train_window,
        structure=learning.structure,
        reverse=learning.reverse,
        rarity=tuple(rarity.tolist()),
        frozen=frozen,
        trainable=_AFTER_ENCODER if frozen else (),
    )
    return task._replace(init=start_from(task.init, learning)) if learning.init_from else task


def start_from(init: Callable, learning: TemporalLearning) -> Callable[[Key], tuple[Params, Stats]]:
    """The same initialisation, with weights from a run, or published ones in the encoder."""
    path = Path(learning.init_from)
    if learning.from_run:
        params, stats = weights.of_run(path, jax.eval_shape(init, jax.random.key(0)))
        return lambda key: (params, stats)
    lasagne = sononet.read(path) if path.suffix == ".npz" else None
    tensors = tensor_files.read(path) if lasagne is None else {}

    def init_encoder(key: Key) -> tuple[Params, Stats]:
        params, stats = init(key)
        inside = {"params": params["encoder"], "batch_stats": stats.get("encoder", {})}
        inside = (
            pretrained.from_torch(inside, tensors, head=False)
            if lasagne is None
            else sononet.from_lasagne(inside, lasagne, head=False)
        )
        return (
            {**params, "encoder": inside["params"]},
            {**stats, "encoder": inside["batch_stats"]},
        )

    return init_encoder


def make_temporal_optimizer(
    options: TrainingOptions, task: Task, *, encoder_rate: float
) -> optax.GradientTransformation:
    """The optimiser of the options, the encoder at a rate of its own."""
    optimizer = make_optimizer(options, only=task.trainable)
    if encoder_rate == 0:
        return optimizer

    def in_encoder(params: Params) -> Any:
        return {
            name: jax.tree.map(lambda _, n=name: n == "encoder", part)
            for name, part in params.items()
        }

    return optax.chain(optimizer, optax.masked(optax.scale(encoder_rate), in_encoder))

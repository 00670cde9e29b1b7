"""The flags that trained experiments share, and the values that no run can have."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from medjax.app import option
from medjax.data.landmarks.published import WRIST
from medjax.errors import UserError
from medjax.train import optim, several

Columns = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Files:
    """Where things are."""

    data_dir: str = option(
        "", "folder or file of the set; empty: made or downloaded", free=True, path=True
    )
    workdir: str = option("", "where everything is written", free=True, path=True)
    cache_dir: str = option(
        "~/.cache/medjax", "prepared sets and compiled programs", free=True, path=True
    )
    path_folder: str = option("", "tables: folder put before each file name")
    path_suffix: str = option("", "tables: suffix put after each file name")
    split_column: str = option(
        "", "tables: column of train, val, test; empty: split, if it is there"
    )
    subject_column: str = option(
        "",
        "tables: column of the subjects; empty: the usual names, "
        "such as patient_id, if one is there",
    )
    split_seed: int = option(0, "draws the splits where the set has none")
    subjects: int = option(300, "generated sets: how many subjects")
    channels: str = option(
        "", "convert all images; empty: as they are", choices=("", "gray", "rgb")
    )
    skip_bad: bool = option(False, "leave out files that cannot be read; they are listed")
    max_image_gb: float = option(2.0, "refuse an image that is larger once it is decoded")
    plain_ids: bool = option(False, "show the PatientIDs of DICOM files, not a keyed hash of them")


@dataclasses.dataclass(frozen=True)
class GridFiles(Files):
    """Where images are that are brought to one grid."""

    subjects: int = option(200, "generated sets: how many subjects")
    path_column: str = option("", "table: column of the files; empty: the usual names")
    image_shape: tuple[int, ...] = option(
        (), "bring every image or frame to this shape; empty: the set's own", item=int
    )
    grid_mm: float = option(0.0, "size of a voxel then; 0: each image is scaled to fit")
    window: tuple[float, ...] = option(
        (),
        "intensities that become black and white; empty: percentiles of each image or sequence",
        item=float,
    )


@dataclasses.dataclass(frozen=True)
class LandmarkFiles(GridFiles):
    """Where images with landmarks are."""

    name_column: str = option("", "landmarks.csv, a row a landmark: column of their names")
    coordinates: str = option(
        "",
        "landmarks.csv: what x, y, z are where their names do not say",
        choices=("", "pixel", "voxel", "LPS", "RAS"),
    )
    spacing_column: str = option(
        "", "tables: column with the size of a pixel in mm; empty: spacing_mm, if it is there"
    )
    pose_from: str = option(
        "",
        "work directory of an earlier run on the same images: its "
        "predictions turn them into one pose",
        path=True,
    )
    fold: int = option(1, "hand_xray: cross-validation fold")
    wrist: str = option("payer", "hand_xray: points that are 50 mm apart", choices=tuple(WRIST))


@dataclasses.dataclass(frozen=True)
class SequenceFiles(GridFiles):
    """Where sequences with named frames are."""

    subjects: int = option(400, "generated sets: how many subjects")
    frame_ms: float = option(0.0, "from one frame to the next, where no file tells it")
    cyclic: bool = option(False, "sequence_folder: each sequence is one whole cycle")
    fold: int = option(1, "sunnybrook_cine: the patient that is left out, from 1")


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained."""

    dtype: str = option("float32", "of the computation", choices=("float32", "bfloat16"))
    steps: int = option(1000, "updates", grows=True)
    batch: int = option(64, "examples an update")
    seed: int = option(0, "of weights, order and augmentation; the first of --seeds")
    seeds: int = option(1, "so many models, trained as one program")
    optimizer: str = option(
        "adamw", "AdamW, or SGD with Nesterov momentum", choices=optim.OPTIMIZERS
    )
    learning_rate: float = option(2e-3, "its peak")
    learning_rates: tuple[float, ...] = option(
        (), "several peaks, comma-separated: tried as one program, validation chooses", item=float
    )
    schedule: str = option("cosine", "of the learning rate", choices=optim.SCHEDULES)
    warmup_steps: int = option(50, "updates until the peak")
    weight_decay: float = option(0.01, "decoupled, on kernels only")
    weight_decays: tuple[float, ...] = option(
        (),
        "the same of --weight_decay: one to each of --learning_rates, or one for all",
        item=float,
    )
    momentum: float = option(0.9, "of SGD; first moment of AdamW")
    clip_norm: float = option(1.0, "longest gradient; 0 is off")
    ema_decay: float = option(0.99, "moving average of the weights; 0 is off")
    eval_every: int = option(0, "updates between evaluations and checkpoints; 0: a tenth of all")
    log_every: int = option(50, "updates between lines of metrics.jsonl", free=True)
    keep: int = option(2, "newest checkpoints kept, beside the best", free=True)
    bootstrap: int = option(
        2000, "exchanges of a paired test, and what intervals simulate", free=True
    )
    figure_format: str = option(
        "png",
        "of the figures; pdf and svg stand beside png",
        choices=("png", "pdf", "svg"),
        free=True,
    )
    eval_only: bool = option(False, "read the best checkpoint and report", free=True)


@dataclasses.dataclass(frozen=True)
class Batches(Training):
    """How a network is trained on batches of a set."""

    shard_state: bool = option(
        False, "weights and optimiser split over the devices, not a copy on each", free=True
    )
    feed: str = option(
        "auto",
        "auto keeps sets below 4 GB on the device; streamed seeds share one order",
        choices=("auto", "resident", "stream"),
    )


@dataclasses.dataclass(frozen=True)
class Augmenting:
    """How images vary in training; the fields are those of `Augmentation`."""

    flip: tuple[int, ...] = option((), "axes mirrored at random, comma-separated", item=int)
    rotate_degrees: float = option(10.0, "random rotation, at most")
    scale: float = option(0.1, "random size, at most this much more or less")
    stretch: float = option(0.0, "the same for each axis alone")
    shear: float = option(0.0, "random shear, at most")
    translate: float = option(0.05, "random shift, at most this share of a side")
    crop: float = option(0.0, "random window, at least this share of a side; 0 is off")
    elastic: float = option(0.0, "random deformation, at most this share of what could fold")
    elastic_points: int = option(5, "its control points along each axis")
    contrast: float = option(0.2, "random contrast, at most")
    brightness: float = option(0.1, "random brightness, at most")
    gamma: float = option(0.2, "random gamma, at most")
    noise: float = option(0.0, "random noise, at most")
    erase: float = option(0.0, "random erased box, at most this share of a side")


def choices(config: Training) -> list[several.Choice]:
    """The settings that are tried as one program; one, where there is nothing to choose."""
    return several.choices(
        config.learning_rates or (config.learning_rate,),
        config.weight_decays or (config.weight_decay,),
    )


_AT_LEAST_ONE = ("steps", "batch", "seeds", "log_every", "keep", "bootstrap", "subjects")
_AMOUNTS = (
    "rotate_degrees",
    "scale",
    "stretch",
    "shear",
    "translate",
    "contrast",
    "brightness",
    "gamma",
    "noise",
)
_BELOW_ONE = ("dropout", "ema_decay", "label_smoothing", "momentum")
_SHARES = ("crop", "erase", "elastic")


def check(config: Any, *, sizes: Columns = (), amounts: Columns = ()) -> None:
    """Raises UserError for values that no run can have.

    Args:
      sizes: further fields that must be at least 1.
      amounts: fields that must be finite and not negative, where 0 has a meaning.
    """
    names = {f.name for f in dataclasses.fields(config)}
    varies = isinstance(config, Augmenting)
    amounts += _AMOUNTS if varies else ()
    for name in (*_AT_LEAST_ONE, *sizes):
        if getattr(config, name) < (name not in amounts):
            raise UserError(f"--{name}={getattr(config, name)}: must be at least 1")
    for name in (
        *_AT_LEAST_ONE,
        "learning_rate",
        "warmup_steps",
        "weight_decay",
        "clip_norm",
        "seed",
        "eval_every",
        *amounts,
    ):
        value = getattr(config, name)
        if not 0 <= value < (2**31 if isinstance(value, int) else np.inf):
            raise UserError(f"--{name}={value}: must not be negative, and finite")
    if not all(0 <= value < np.inf for choice in choices(config) for value in choice):
        raise UserError("--learning_rates and --weight_decays must not be negative, and finite")
    for name in (*_BELOW_ONE, *(_SHARES if varies else ())):
        if name in names and not 0 <= getattr(config, name) < 1:
            raise UserError(f"--{name}={getattr(config, name)}: must be from 0 to below 1")
    if varies and config.elastic_points < 3:
        raise UserError(f"--elastic_points={config.elastic_points}: must be at least 3")
    inside = Path(config.workdir).resolve().parents
    if config.data_dir and Path(config.data_dir).resolve() in inside:
        raise UserError(
            f"--workdir={config.workdir} lies in --data_dir, where its figures would "
            "be taken for images; choose another"
        )
    if config.eval_only and not (Path(config.workdir) / "config.json").exists():
        raise UserError(f"--workdir={config.workdir}: no run in it to evaluate; train first")


def check_landmarks(config: LandmarkFiles, *, ndim: int) -> None:
    """Raises UserError for values that no set of landmarks can have."""
    if ndim not in (2, 3):
        raise UserError(f"--ndim={ndim}: images have 2 or 3 axes")
    if any(n < 1 for n in config.image_shape) or len(config.image_shape) not in (0, 2, 3):
        raise UserError("--image_shape: give the 2 or 3 sides, comma-separated")
    if not 0 <= config.grid_mm < np.inf:
        raise UserError(f"--grid_mm={config.grid_mm}: must not be negative, and finite")
    if config.fold < 1:
        raise UserError(f"--fold={config.fold}: must be at least 1")
    check_window(config.window)


def check_sequences(config: SequenceFiles) -> None:
    """Raises UserError for values that no set of sequences can have."""
    if any(n < 1 for n in config.image_shape) or len(config.image_shape) not in (0, 2):
        raise UserError("--image_shape: give height and width, comma-separated")
    if config.fold < 1:
        raise UserError(f"--fold={config.fold}: must be at least 1")
    check_window(config.window)


def check_window(window: tuple[float, ...]) -> None:
    """Raises UserError unless it is empty or a range of intensities."""
    if len(window) not in (0, 2) or list(window) != sorted(set(window)):
        raise UserError("--window: give two intensities, the lower first")

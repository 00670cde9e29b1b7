"""The contract of an output kind, what a network was trained on, and new images made ready.

An output kind is what networks answer with, whichever method has trained them: classes, landmarks,
frames. Metrics, tables, figures, preparation of new images and comparison belong to it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from medjax.data import images
from medjax.data.dataset import Split
from medjax.data.info import DatasetInfo
from medjax.errors import UserError
from medjax.evaluation.metrics import Metric
from medjax.evaluation.predictions import Predictions
from medjax.ops.preprocess import Preprocessing
from medjax.train.predict import Predict, predict_split
from medjax.typing import Json, JsonView

Weights = tuple[Any, Any]  # parameters and batch statistics, with a leading seed axis
Predicted = Json  # what `Task.predict` gives, by name; every array `[n, ...]`
Kind = TypeVar("Kind", bound=Predictions)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What every predictor knows of its training; plain data, as it stands in a bundle.

    Attributes:
      info: of the set: its classes, landmarks or frames, its licence and whom to cite.
      preprocessing: how pixels are scaled.
      image_shape: of one prepared example, `[*space, channel]`; of a sequence with its time.
      image_dtype: of its pixels.
      window: intensities that become black and white; empty: percentiles of each image.
      seeds: so many models answer together.
      channels: `gray` or `rgb`, that all images were converted to; empty: none were.
      quantity_scale: of each quantity its mean and standard deviation in the training.
    """

    info: DatasetInfo
    preprocessing: Preprocessing
    image_shape: tuple[int, ...]
    image_dtype: str
    window: tuple[float, ...] = ()
    seeds: int = 1
    channels: str = ""
    quantity_scale: tuple[tuple[float, float], ...] = ()


class ImageHints(NamedTuple):
    """What a user may say about images that do not say it themselves.

    Attributes:
      spacing_mm: the size of a pixel; 0: not known.
      frame_ms: from one frame to the next; 0: not known.
      resize: images of another shape than those of the training are brought to it.
      limit_bytes: an image that is larger once it is decoded is refused.
      channels: `gray`: colour images are made gray, by luminance; empty: they are refused where
        the training had gray ones.
      series: of folders with several DICOM series the one that is meant.
      points_mm: by case, `[landmark, ndim]`, where a first look has found the landmarks of a
        network that was trained on images in one pose.
      fixed: of networks that register, by case the file that it is registered to.
    """

    spacing_mm: float = 0.0
    frame_ms: float = 0.0
    resize: bool = False
    points_mm: Mapping[str, np.ndarray] = {}
    limit_bytes: int = images.LIMIT_BYTES
    channels: str = ""
    series: str = ""
    fixed: Mapping[str, Path] = {}


NO_HINTS = ImageHints()


class PreparedImage(NamedTuple):
    """One image or sequence, prepared; `targets` are the columns that a `Split` has of it."""

    image: np.ndarray
    case_id: str
    targets: Mapping[str, Any] = {}


class Input(NamedTuple):
    """What a network takes of one example.

    Attributes:
      name: for who calls the exported function.
      column: of a batch.
      shape: `b` for the number of examples, and the sides.
      dtype: of the values.
      text: what it is, in words.
    """

    name: str
    column: str
    shape: str
    dtype: str
    text: str


class Description(NamedTuple):
    """What a network of this kind does, in words.

    Attributes:
      task: as "finds landmarks".
      names: of the classes, landmarks or frames.
    """

    task: str
    names: tuple[str, ...]


class Answer(Protocol):
    """What a network answers to one image."""

    @property
    def case_id(self) -> str: ...

    def rows(self) -> list[Json]:
        """For `predictions.csv`."""

    def further_rows(self) -> dict[str, list[Json]]:
        """For other tables, by file name."""

    def files(self) -> dict[tuple[str, str], Callable[[Path], None]]:
        """Writers of files of its own, by folder and suffix."""

    def draw(self, path: Path, image: np.ndarray) -> None:
        """Writes a picture of the answer over the prepared image."""


class Preparation(NamedTuple):
    """How new images are made ready for a network.

    Attributes:
      inputs: what the network takes.
      list_files: the files below a folder that hold an image for the network, and how many of
        which suffix are left out.
      suffixes: of such files; noun: what they hold.
      read: `read(path, predictor, spec, case_id=, hints=)`: the images of a file, ready.
      from_array: `from_array(image, predictor, spec, hints=, affine=)`.
    """

    inputs: Callable[[ModelSpec], list[Input]]
    list_files: Callable[[Path, ModelSpec], tuple[list[Path], Mapping[str, int]]]
    suffixes: tuple[str, ...]
    noun: str
    read: Callable[..., list[PreparedImage]]
    from_array: Callable[..., PreparedImage]


class Evaluation(NamedTuple, Generic[Kind]):
    """What a report is made of.

    Attributes:
      spec: what was trained on.
      train: the training split.
      split: the split of the report.
      ensemble: its predictions, of all seeds together.
      by_seed: those of each seed.
      tuned: the ensemble's on validation; `ensemble` itself where the report is on validation.
      baseline: the trivial answer to the same cases; baseline_is: what it is, in words.
      metrics: by name; measures: the settings that they come from.
      samples: exchanges of a paired test.
    """

    spec: ModelSpec
    train: Split
    split: Split
    ensemble: Kind
    by_seed: list[Kind]
    tuned: Kind
    baseline: Kind
    baseline_is: str
    metrics: Mapping[str, Metric]
    measures: Any
    samples: int


WORST_CASES = 12  # so many are shown on the page of a run


class Picture(NamedTuple):
    """A figure of a report, or the picture of a case that was answered badly.

    Attributes:
      file: its name, in the folder of the figures.
      text: what it shows, in a sentence for those who do not see it too; of a case what went wrong.
      shows_images: whether parts of images, and so of patients, can be seen.
      case_id: of a case; empty for a figure.
      line: where a row of the case stands in `predictions.csv`, that of its worst point where there
        are several; the header is line 1.
      wide: whether the picture of a case has several views.
    """

    file: str
    text: str
    shows_images: bool = False
    case_id: str = ""
    line: int = 0
    wide: bool = False


class PairedAnswers(NamedTuple):
    """What two models answered to the same cases, as metrics take it."""

    reference: np.ndarray
    a: np.ndarray
    b: np.ndarray
    subject_id: list[str]
    metrics: Mapping[str, Metric]


class PairReader(NamedTuple):
    """How two files of predictions of this kind are read, to be compared.

    Attributes:
      recognises: whether a header is that of such a file.
      read_pair: `read_pair(first, other, settings)`, the second in the order of the first; raises
        UserError unless both are of the same cases.
      settings: of the comparison that it reads.
    """

    recognises: Callable[[Sequence[str]], bool]
    read_pair: Callable[[Path, Path, Any], PairedAnswers]
    settings: tuple[str, ...] = ()


class Inferred(NamedTuple):
    """What networks answer to the cases of a split.

    Attributes:
      by_seed: arrays `[seed, n, ...]`, with the `loss` of each case where it is known.
      ensemble: the one answer of all seeds, arrays `[n, ...]`.
    """

    by_seed: Predicted
    ensemble: Predicted


def infer_at_once(
    predictor: Any,
    predict: Predict,
    weights: Weights,
    split: Split,
    spec: ModelSpec,
    *,
    columns: Sequence[str],
    batch: int,
    gallery: Split | None = None,
) -> Inferred:
    """The answers of a network that takes an image whole.

    Args:
      predictor: whose network it is; predict: as `compile_predict` makes it.
      columns: of the split, that it reads beside the image; batch: so many images at a time.
      gallery: cases that answers may name, the training set; None where there are none.
    """
    by_seed = predict_split(predict, weights, split, columns=columns, batch=batch)
    answers = {name: values for name, values in by_seed.items() if name != "loss"}
    ensemble = {k: np.asarray(v) for k, v in predictor.output.ensemble(answers, spec).items()}
    return Inferred(by_seed, ensemble)


class Output(NamedTuple, Generic[Kind]):
    """An output kind.

    Attributes:
      columns: the targets that a batch has beside its image.
      describe: what a network does and knows.
      prepare: how new images are made ready.
      tabulate: `tabulate(split, spec, predicted)`: predictions of a split beside their reference.
      ensemble: `ensemble(predicted, spec)`: one answer of those of all seeds, whose arrays are
        `[seed, n, ...]`; pure.
      baseline: `baseline(train, split, spec)`: the trivial answer, and what it is.
      metrics: `metrics(spec, measures)`, by name.
      details: what a report has of this kind beside its metrics; what it has of `metrics`,
        `baseline` and `definitions` stands behind those of the report.
      draw: writes the figures into a folder, and a picture of each of the cases that were answered
        worst; those that the page of the run is to show.
      answer: predictions of new images as answers.
      compare: files of predictions; None: they are not compared.
      infer: answers to the cases of a split, arguments as of `infer_at_once`.
      decide: `decide(answer, spec, report)`: the answer to a new image with what the report of the
        run has chosen on validation, such as thresholds. The report may be a stranger's.
    """

    columns: tuple[str, ...]
    describe: Callable[[DatasetInfo], Description]
    prepare: Preparation
    tabulate: Callable[[Split, ModelSpec, Predicted], Kind]
    ensemble: Callable[[Predicted, ModelSpec], Predicted]
    baseline: Callable[[Split, Split, ModelSpec], tuple[Kind, str]]
    metrics: Callable[[ModelSpec, Any], dict[str, Metric]]
    details: Callable[[Evaluation[Kind]], Json]
    draw: Callable[[Path, Evaluation[Kind]], list[Picture]]
    answer: Callable[[Kind, Split], Sequence[Answer]]
    compare: PairReader | None = None
    infer: Callable[..., Inferred] = infer_at_once
    decide: Callable[[Any, ModelSpec, JsonView], Answer] = lambda answer, spec, report: answer


def mean_over_seeds(predicted: Predicted, spec: ModelSpec) -> Predicted:
    """The plain ensemble."""
    return {name: values.mean(0) for name, values in predicted.items()}


def image_input(spec: ModelSpec) -> Input:
    """The image itself."""
    shape = " x ".join(map(str, spec.image_shape))
    text = f"images of {shape} {spec.image_dtype}, any number"
    return Input("images", "image", symbols(spec.image_shape), spec.image_dtype, text)


def symbols(shape: tuple[int, ...]) -> str:
    """Any number of examples of this shape."""
    return ", ".join(["b", *map(str, shape)])


def split_of(ready: Sequence[PreparedImage]) -> Split:
    """New images as a split whose reference is empty; all have one shape."""
    names = [r.case_id for r in ready]
    return Split(
        targets={k: np.stack([r.targets[k] for r in ready]) for k in ready[0].targets},
        case_id=names,
        subject_id=names,
        metadata=[{} for _ in ready],
        read=lambda i: ready[i].image,
        image_shape=ready[0].image.shape,
        image_dtype=ready[0].image.dtype,
    )


def read_number(entry: Any, *names: str) -> float | None:
    """The finite number in a report, which may be a stranger's, that these names lead to; None
    where there is none."""
    value = entry
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if np.isfinite(value) else None


class OfCases(Protocol):
    """Predictions of cases, each of a subject."""

    @property
    def case_id(self) -> list[str]: ...

    @property
    def subject_id(self) -> list[str]: ...


def match_cases(first: OfCases, other: OfCases) -> list[int]:
    """Where the cases of `first` stand in `other`.

    Raises:
      UserError: unless both hold the same, of the same subjects, whatever these are called.
    """
    a, b = first.case_id, other.case_id
    place = {case: i for i, case in enumerate(b)}
    odd = set(a) ^ set(b)
    if odd:
        raise UserError(
            f"{len(odd)} cases are in one file only, such as {min(odd)!r}: compare runs on the "
            "same set and split, or both of all folds"
        )
    if len(place) != len(b) or len(a) != len(b):
        raise UserError("a case stands more than once in a file")
    rows = [place[case] for case in a]
    subjects = len({*first.subject_id}), len({*other.subject_id})
    both = {(s, other.subject_id[i]) for s, i in zip(first.subject_id, rows, strict=True)}
    if {len(both)} != set(subjects):
        raise UserError(
            f"the cases are of {subjects[0]} subjects in one file and of {subjects[1]} in the "
            "other, or of others: read the set in one way for both, as by `subject_column`"
        )
    return rows


def extend(result: Json, details: JsonView) -> Json:
    """With more entries; tables and lists that both have stand behind one another."""
    for name, value in details.items():
        before = result.get(name)
        if isinstance(before, dict):
            result[name] = {**before, **value}
        else:
            result[name] = [*before, *value] if isinstance(before, list) else value
    return result

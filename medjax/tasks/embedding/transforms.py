"""What is done to embeddings after a network, fitted on the gallery: bits, and probabilities.

A transform is fitted once, on descriptors of the gallery alone, and then answers as a part of the
task: so that it stands in bundles with the network.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.dataset import Split
from medjax.data.folds import number_folds
from medjax.ops.neighbours import normalise
from medjax.outputs.embeddings.ranking import EMBEDDING, FEATURES
from medjax.train.task import Task
from medjax.typing import Array, Batch, Key, Params, Stats

NAME = "transform"  # of its parameters, beside those of a task
NONE, MEDIAN, MEANS, SVM = "none", "median", "means", "svm"
TRANSFORMS = (NONE, MEDIAN, MEANS, SVM)
OF_CLASSES = (MEANS, SVM)  # that give probabilities of classes
_PENALTIES = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C
_FOLDS = 4
_SHARPNESS = 10.0  # of cosines to the means of classes
_NEVER = 100.0  # that a cosine is lowered by, or the logarithm of odds, for a class without cases


class Fitted(NamedTuple):
    """A transform of the gallery.

    Attributes:
      params: plain arrays; text: what was chosen, for the report.
    """

    params: Params
    text: str


def shape_params(kind: str, *, features: int, classes: int) -> Params:
    """Parameters of the shapes that `fit` gives, zero."""
    if kind == MEDIAN:
        return {"threshold": jnp.zeros(features)}
    if kind == MEANS:
        return {"means": jnp.zeros((features, classes)), "absent": jnp.zeros(classes)}
    return {
        "kernel": jnp.zeros((features, classes)),
        **{name: jnp.zeros(classes) for name in ("bias", "slope", "offset")},
    }


def apply(kind: str, params: Params, embedding: Array) -> Array:
    """`[n, feature]` to bits `[n, feature]`, 0 and 1, or to probabilities `[n, class]`."""
    if kind == MEDIAN:
        return (embedding > params["threshold"]).astype(jnp.float32)
    if kind == MEANS:
        cosine = jnp.matmul(jax.vmap(normalise)(embedding), params["means"], precision="highest")
        return jax.nn.softmax(_SHARPNESS * (cosine - _NEVER * params["absent"]))
    decision = embedding @ params["kernel"] + params["bias"]
    return jax.nn.sigmoid(decision * params["slope"] + params["offset"])


def fit(kind: str, rows: np.ndarray, gallery: Split, *, classes: int) -> Fitted:
    """Fits a transform on descriptors `[n, feature]` of the gallery, which may lack classes."""
    if kind == MEDIAN:
        return Fitted({"threshold": np.median(rows, 0).astype(np.float32)}, "bits at the medians")
    if kind == MEANS:
        params = fit_means(rows, gallery, classes=classes)
        return Fitted(params, "cosines to the means of classes")
    return fit_svm(rows, gallery, classes=classes)


def fit_means(rows: np.ndarray, gallery: Split, *, classes: int) -> Params:
    """The parameters of `means`: the mean of each class, of descriptors of length 1, brought to
    length 1, and which classes have none.

    Queries are of the class whose mean is nearest (Mensink et al. 2013, nearest class means): all
    classes count alike, however frequent they are.
    """
    label, tiny = gallery["label"], 1e-12
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), tiny)
    sums = np.stack([unit[label == c].sum(0) for c in range(classes)], 1)
    means = sums / np.maximum(np.linalg.norm(sums, axis=0), tiny)
    absent = np.bincount(label, minlength=classes) == 0
    return {"means": means.astype(np.float32), "absent": absent.astype(np.float32)}


def fit_svm(rows: np.ndarray, gallery: Split, *, classes: int) -> Fitted:
    """A linear support vector machine for each class against the rest, its decisions as
    probabilities (Platt 1999): the vectors that Anavi et al. 2016 compare.

    Slope and offset are fitted on decisions about subjects that the machine was not fitted on; so
    is the penalty chosen, by the share that is told right.
    """
    label, names = gallery["label"], np.arange(classes)
    mean, scale = rows.mean(0), np.maximum(rows.std(0), 1e-6)
    scaled = (rows - mean) / scale
    fold = np.array(number_folds(gallery, count=_FOLDS, seed=0))

    def hold_out(penalty: float) -> np.ndarray:
        decision = np.zeros((len(rows), classes))
        for number in range(_FOLDS):
            out = fold == number
            machines = [_fit_machine(scaled[~out], label[~out] == c, penalty) for c in names]
            decision[out] = np.stack([scaled[out] @ m.kernel + m.bias for m in machines], 1)
        return decision

    held = {penalty: hold_out(penalty) for penalty in _PENALTIES}
    best = max(held, key=lambda p: float((held[p].argmax(1) == label).mean()))
    platt = [_fit_platt(held[best][:, c], label == c) for c in names]
    chosen = [_fit_machine(scaled, label == c, best) for c in names]
    kernel = np.stack([m.kernel for m in chosen], 1) / scale[:, None]
    params = {
        "kernel": kernel,
        "bias": np.array([m.bias for m in chosen]) - mean @ kernel,
        "slope": np.array([slope for slope, _ in platt]),
        "offset": np.array([offset for _, offset in platt]),
    }
    return Fitted(
        {name: np.asarray(value, np.float32) for name, value in params.items()},
        f"support vector machines, C = {best:g} by cross-validation in the gallery",
    )


def _fit_platt(decision: np.ndarray, is_class: np.ndarray) -> tuple[float, float]:
    """Slope and offset, by which decisions `[n]` become the logarithm of odds.

    Balanced, as the classes of queries need not be as frequent as those of the gallery.
    """
    from sklearn.linear_model import LogisticRegression

    if is_class.all() or not is_class.any():
        return 0.0, _NEVER if is_class.all() else -_NEVER
    fitted = LogisticRegression(C=1e3, class_weight="balanced").fit(decision[:, None], is_class)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


class _Machine(NamedTuple):
    """`rows @ kernel + bias` is above 0 for cases of the class."""

    kernel: np.ndarray
    bias: float


def _fit_machine(rows: np.ndarray, is_class: np.ndarray, penalty: float) -> _Machine:
    from sklearn.svm import LinearSVC

    if is_class.all() or not is_class.any():  # a class of one subject, which is held out
        return _Machine(np.zeros(rows.shape[1]), 1.0 if is_class.all() else -1.0)
    machine = LinearSVC(C=penalty, dual="auto", class_weight="balanced", random_state=0)
    machine.fit(rows, is_class)
    return _Machine(machine.coef_[0], float(machine.intercept_[0]))


def add_transform(task: Task, kind: str, *, image_shape: tuple[int, ...], classes: int) -> Task:
    """A task whose embeddings are transformed; its parameters are those of the transform, under
    `NAME`, and those of the task."""
    if kind == NONE:
        return task

    def init(key: Key) -> tuple[Params, Stats]:
        params, stats = task.init(key)
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        answer = jax.eval_shape(
            lambda p, s, x: task.predict(p, s, {"image": x}), params, stats, images
        )
        features = answer[EMBEDDING].shape[-1]
        return {**params, NAME: shape_params(kind, features=features, classes=classes)}, stats

    def predict(params: Params, stats: Stats, batch: Batch) -> dict[str, Array]:
        below = {name: value for name, value in params.items() if name != NAME}
        answer = task.predict(below, stats, batch)
        features = answer[EMBEDDING]
        transformed = apply(kind, params[NAME], features)
        return {**answer, EMBEDDING: transformed, FEATURES: features}

    return task._replace(init=init, predict=predict)

"""Classifiers of tables of features that no network has for a last layer, by scikit-learn."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

_COSTS = tuple(10.0**power for power in range(-4, 2))
_MOST = 10.0  # deviations of a standardised feature
_ABSENT = "y_pred contains classes not in y_true"  # of a fold without cases of a class
_NEIGHBOURS = (1, 3, 5, 10, 20)


def predict_svm(
    features: np.ndarray, label: np.ndarray, fold: np.ndarray, asked: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Probabilities `[n, class]` for each table that is asked of, by a linear support-vector
    machine, each class against the rest.

    The scaler stands in the pipeline, so each fold has its own; cost and the sigmoid that makes
    probabilities (Platt 1999) come from the same folds, of the training rows alone.

    Args:
      features: of the training rows, `[m, feature]`; label, fold: `[m]`.
    """
    folds = PredefinedSplit(fold)
    # A feature that is all but constant in a fold stands out by thousands in what is held out.
    bounded = FunctionTransformer(np.clip, kw_args={"a_min": -_MOST, "a_max": _MOST})
    machine = make_pipeline(StandardScaler(), bounded, LinearSVC(max_iter=2000, random_state=0))
    search = GridSearchCV(machine, {"linearsvc__C": _COSTS}, cv=folds, scoring="balanced_accuracy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the largest costs
        warnings.filterwarnings("ignore", _ABSENT)
        best = search.fit(features, label).best_estimator_
        held_out = cross_val_predict(best, features, label, cv=folds, method="decision_function")
    sigmoids = fit_sigmoids(_by_class(held_out), label)
    return [_probability(_by_class(best.decision_function(table)), sigmoids) for table in asked]


def fit_sigmoids(decision: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Slope and offset of each class against the rest, `[class, 2]`, that make its decision a
    probability (Platt 1999).

    A slope is never below zero: of few examples what a fold has held out may be answered worse than
    by chance, which says nothing of the order of others.

    Args:
      decision: of examples that their machine has not seen, `[n, class]`; label: `[n]`.
    """
    out = []
    for c, value in enumerate(decision.T):
        width = max(float(value.std()), 1e-12)  # so that any scale is fitted as well
        fitted = LogisticRegression(C=100.0).fit(value[:, None] / width, label == c)
        slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        share = float((label == c).mean())
        out.append((slope / width, offset) if slope > 0 else (0.0, np.log(share / (1 - share))))
    return np.array(out)


def _by_class(decision: np.ndarray) -> np.ndarray:
    """`[n, class]`; of two classes scikit-learn gives that of the second alone."""
    return np.stack([-decision, decision], 1) if decision.ndim == 1 else decision


def _probability(decision: np.ndarray, sigmoids: np.ndarray) -> np.ndarray:
    """`[n, class]`, of a sum of one."""
    share = 1 / (1 + np.exp(-np.clip(decision * sigmoids[:, 0] + sigmoids[:, 1], -50, 50)))
    return np.asarray(share / share.sum(1, keepdims=True))


def predict_neighbours(
    features: np.ndarray, label: np.ndarray, fold: np.ndarray, asked: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """The same by the classes of the nearest neighbours, which count by their nearness; distance is
    one minus the cosine of features, and how many neighbours is chosen in the folds."""
    most = len(label) - int(np.bincount(fold).max())  # training rows of a fold
    search = GridSearchCV(
        KNeighborsClassifier(metric="cosine", weights="distance"),
        {"n_neighbors": [k for k in _NEIGHBOURS if k <= most]},
        cv=PredefinedSplit(fold),
        scoring="balanced_accuracy",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _ABSENT)
        search.fit(features, label)
    return [search.predict_proba(table) for table in asked]

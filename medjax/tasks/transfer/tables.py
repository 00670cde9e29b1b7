"""Classifiers of tables of features that no network has for a last layer, by scikit-learn."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

_COSTS = tuple(10.0**power for power in range(-4, 2))
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
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LinearSVC(dual=True, max_iter=2000, random_state=0)),
        {"linearsvc__C": _COSTS},
        cv=PredefinedSplit(fold),
        scoring="balanced_accuracy",
        refit=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the largest costs
        search.fit(features, label)
        machine = make_pipeline(
            StandardScaler(),
            LinearSVC(
                C=search.best_params_["linearsvc__C"], dual=True, max_iter=2000, random_state=0
            ),
        )
        model = CalibratedClassifierCV(machine, cv=PredefinedSplit(fold), ensemble=False)
        model.fit(features, label)
    return [model.predict_proba(table) for table in asked]


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
    search.fit(features, label)
    return [search.predict_proba(table) for table in asked]

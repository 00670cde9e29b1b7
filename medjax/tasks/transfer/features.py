"""Features of all images by a network that stays as it is, computed once."""

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import progress, runtime
from medjax.data.dataset import Split
from medjax.files import write_bytes
from medjax.models.features import extract_features
from medjax.ops.grid import flatten_small
from medjax.ops.preprocess import Preprocessing
from medjax.tasks.transfer.views import show_image
from medjax.train.feed import padded
from medjax.typing import Array, Tree


def compute_features(
    network: Any,
    variables: Tree,
    preprocessing: Preprocessing,
    split: Split,
    *,
    batch: int,
    what: str,
    cache: Path,
    known_by: tuple[str, ...],
    show: Callable[[Array], Array] = show_image,
) -> np.ndarray:
    """What the last layer is given of every image as it is shown, `[n, view, feature]`, float32.

    They are kept in the cache: arms, seeds and sizes share them, and so do runs.

    Args:
      network: a classifier; variables: its `params` and `batch_stats`.
      what: the split, for the bar; cache: the folder.
      known_by: what they depend on: digests of the set and of the weights, the network's name.
      show: of an image from 0 to 1, the views that the network is given.
    """
    known = repr((known_by, what, preprocessing, show.__name__))
    name = hashlib.sha256(known.encode()).hexdigest()[:24]
    path = cache / runtime.FEATURES / f"{name}.npy"
    kept = _read_kept(path)
    if kept is not None and len(kept) == len(split):
        return kept

    @jax.jit
    def compute(variables: Tree, images: Array) -> Array:
        views = jax.vmap(show)(preprocessing.unit(images))
        scaled = preprocessing.standardise(views.reshape(-1, *views.shape[2:]))
        return extract_features(network, variables, scaled).reshape(*views.shape[:2], -1)

    features = _by_batch(lambda images: compute(variables, images), split, batch, what)
    buffer = io.BytesIO()
    np.save(buffer, features)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f"{name}.{os.getpid()}")  # another run may be writing the same
    write_bytes(own, buffer.getvalue())
    own.replace(path)
    return features


def _read_kept(path: Path) -> np.ndarray | None:
    """The features in a file; None where there is none that can be read."""
    try:
        kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.dtype == np.float32 else None


def pool_pixels(preprocessing: Preprocessing, split: Split, *, batch: int, what: str) -> np.ndarray:
    """Every image as one row of pixels, `[n, feature]`, as `flatten_small` has it."""

    @jax.jit
    def compute(images: Array) -> Array:
        return flatten_small(preprocessing.unit(images))

    return _by_batch(compute, split, batch, what)


def _by_batch(
    compute: Callable[[np.ndarray], Array], split: Split, batch: int, what: str
) -> np.ndarray:
    batches = list(padded(len(split), batch=batch))
    parts = [
        np.asarray(compute(split.images(index)), np.float32)[valid]
        for index, valid in progress.track(batches, total=len(batches), what=f"features of {what}")
    ]
    return np.concatenate(parts)

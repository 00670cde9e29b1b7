"""Classical features of images, by scikit-image, and what tables say of cases, as numbers."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from medjax import progress
from medjax.data import images, table
from medjax.data.dataset import Split
from medjax.errors import UserError
from medjax.ops.preprocess import Preprocessing

_SIDE = 64  # of what HOG is of, so that images of all sizes have as many values
_LEVELS = 32  # gray levels of co-occurrence
_RINGS = ((8, 1), (16, 2))  # neighbours and radius of local binary patterns
_STEPS = (1, 2)  # pixels between the two of a co-occurrence
_PROPERTIES = ("contrast", "homogeneity", "energy", "correlation")
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


def find_skimage() -> ModuleType:
    """scikit-image's features; raises UserError where it is not installed."""
    try:
        from skimage import feature
    except ImportError:
        raise UserError(
            "classical features are those of scikit-image: pip install 'medjax[instances]'"
        ) from None
    return feature


def describe_image(image: np.ndarray) -> np.ndarray:
    """The classical features of an image: `[feature]`.

    Histograms of oriented gradients (Dalal and Triggs 2005), of uniform local binary patterns
    (Ojala et al. 2002), properties of gray-level co-occurrence (Haralick et al. 1973) as means over
    four directions, and mean, deviation and quantiles of the intensities of each channel.

    Args:
      image: `[height, width, channel]`, from 0 to 1.
    """
    feature = find_skimage()
    gray = image.mean(-1)
    small = images.resize(gray[..., None].astype(np.float32), (_SIDE, _SIDE))[..., 0]
    hog = feature.hog(small, orientations=8, pixels_per_cell=(16, 16), cells_per_block=(1, 1))
    eight_bits = np.rint(255 * np.clip(gray, 0, 1)).astype(np.uint8)
    patterns = []
    for count, radius in _RINGS:
        codes = feature.local_binary_pattern(eight_bits, count, radius, method="uniform")
        patterns.append(np.bincount(codes.astype(int).ravel(), minlength=count + 2) / codes.size)
    levels = (eight_bits.astype(int) * _LEVELS // 256).astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    pairs = feature.graycomatrix(levels, _STEPS, angles, _LEVELS, symmetric=True, normed=True)
    texture = [feature.graycoprops(pairs, name).mean(1) for name in _PROPERTIES]
    flat = image.reshape(-1, image.shape[-1])
    orders = [flat.mean(0), flat.std(0), *np.quantile(flat, _SHARES, axis=0)]
    return np.concatenate([hog, *patterns, *texture, *orders]).astype(np.float32)


def describe_images(preprocessing: Preprocessing, split: Split, *, what: str) -> np.ndarray:
    """The same of every image of a split, `[n, feature]`; `what` is its name, for the bar."""
    numbers = progress.track(
        range(len(split)), total=len(split), what=f"classical features of {what}"
    )
    return np.stack(
        [
            describe_image(np.asarray(preprocessing.unit(jnp.asarray(split.read(i)))))
            for i in numbers
        ]
    )


class Encoding(NamedTuple):
    """How a column of a table becomes numbers.

    Attributes:
      values: the texts that have a number of their own; empty: the column holds numbers.
    """

    column: str
    values: tuple[str, ...]


def fit_encoding(metadata: Sequence[Mapping[str, str]], columns: Sequence[str]) -> list[Encoding]:
    """The columns of the training set: numbers as they are, of texts one value each."""
    out = []
    for column in columns:
        known = {row[column] for row in metadata if not table.is_missing(row[column])}
        numbers = all(map(table.is_number, known))
        out.append(Encoding(column, () if numbers else tuple(sorted(known))))
    return out


def encode_metadata(
    metadata: Sequence[Mapping[str, str]], encoding: Sequence[Encoding]
) -> np.ndarray:
    """Cases as numbers `[n, feature]`; what is missing is a value of its own, as is a text among
    numbers, and a text that the training set has not is none of those that it has."""
    columns = []
    for column, values in encoding:
        cells = [row[column] for row in metadata]
        known = [not table.is_missing(x) and (bool(values) or table.is_number(x)) for x in cells]
        columns.append([float(not there) for there in known])
        if values:
            columns += [[float(cell == value) for cell in cells] for value in values]
        else:
            columns.append([float(x) if k else 0.0 for x, k in zip(cells, known, strict=True)])
    return np.array(columns, np.float32).T

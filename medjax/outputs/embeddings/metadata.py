"""How far cases are from one another by what is known of them beside their image: age, sex, view.

Anavi et al. 2016 add age and sex to the features of chest X-rays, with weights of their own.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.dataset import Split
from medjax.data.table import is_missing, is_number
from medjax.errors import unknown

_PAIRS = 2000  # of the gallery, whose mean distance stands for what is not known


class MetadataDistance:
    """Distances to the cases of one gallery, by columns of their metadata.

    Numbers differ by their difference over the range that nine tenths of the gallery have, other
    values by 1 unless they are equal. Where either case has none, the distance is the mean one of
    the gallery, which draws it neither near nor far.
    """

    def __init__(self, gallery: Split, columns: Sequence[str]):
        """Raises UserError for a column that the gallery lacks, or that says nothing there."""
        self._columns = [_Column(gallery, name) for name in columns]

    def measure(self, facts: Mapping[str, str]) -> np.ndarray:
        """From a case with this metadata to each of the gallery: `[column, n]`."""
        return np.stack([column.measure(facts.get(column.name, "")) for column in self._columns])


class _Column:
    def __init__(self, gallery: Split, name: str):
        known = {key for facts in gallery.metadata for key in facts}
        texts = [facts.get(name, "") for facts in gallery.metadata]
        given = [text for text in texts if not is_missing(text)]
        if name not in known or not given:
            raise unknown("metadata", name, known)
        self.name, self._is_number = name, all(map(is_number, given))
        missing = [is_missing(text) for text in texts]
        if self._is_number:
            self._values = np.array(
                [np.nan if m else float(t) for t, m in zip(texts, missing, strict=True)]
            )
            low, high = np.nanpercentile(self._values, [5, 95])
            self._range = float(high - low) or 1.0
        else:
            self._values = np.array(["" if m else t for t, m in zip(texts, missing, strict=True)])
        self._neutral = 0.0
        self._neutral = self._measure_mean(texts)

    def measure(self, text: str) -> np.ndarray:
        """From a case with this value to each of the gallery: `[n]`."""
        if is_missing(text) or (self._is_number and not is_number(text)):
            return np.full(len(self._values), self._neutral)
        if self._is_number:
            far = np.abs(self._values - float(text)) / self._range
            return np.where(np.isnan(far), self._neutral, far)
        far = (self._values != text).astype(float)
        return np.where(self._values == "", self._neutral, far)

    def _measure_mean(self, texts: Sequence[str]) -> float:
        """Of pairs of the gallery that both have a value."""
        given = np.flatnonzero([not is_missing(text) for text in texts])
        draw = np.random.default_rng(0)
        some = draw.permutation(given)[: max(int(_PAIRS / len(given)), 10)]
        return float(np.mean([self.measure(texts[i])[given].mean() for i in some]))


def count_missing(split: Split, columns: Sequence[str]) -> dict[str, int]:
    """How many cases lack which metadata."""
    return {
        name: sum(is_missing(facts.get(name, "")) for facts in split.metadata) for name in columns
    }

"""Targets and names stand apart from the images, and say the same."""

import numpy as np
import pytest

from medjax.data import columns, source
from medjax.data.options import DataOptions, LandmarkOptions
from medjax.data.sequence_options import SequenceOptions

SETS = {
    "brain_planes": DataOptions(subjects=4),
    "brain_landmarks": LandmarkOptions(subjects=4, ndim=2),
    "beating_heart": SequenceOptions(subjects=4),
}


@pytest.mark.parametrize("name", SETS)
def test_opening_reads_one_image_a_split_and_gives_what_the_records_hold(
    name, cache_dir, monkeypatch
):
    apart = source.load(name, options=SETS[name], cache_dir=cache_dir)
    monkeypatch.setattr(columns, "read", lambda folder: None)
    together = source.load(name, options=SETS[name], cache_dir=cache_dir)
    assert apart.digest == together.digest
    assert apart.notes == together.notes
    for split, expected in together.splits.items():
        found = apart.splits[split]
        assert (found.case_id, found.subject_id) == (expected.case_id, expected.subject_id)
        assert found.metadata == expected.metadata
        for column, values in expected.targets.items():
            assert found[column].dtype == values.dtype, column
            np.testing.assert_array_equal(found[column], values)


def test_damaged_columns_are_read_again_from_the_records(tmp_path):
    """Whichever bit of the file is flipped."""
    rows = [
        {"label": i, "case_id": f"c{i}", "subject_id": "s", "digest": "d", "metadata": "{}"}
        for i in range(3)
    ]
    columns.write(tmp_path, {"train": columns.collect(rows)})
    whole = (tmp_path / columns.NAME).read_bytes()
    found = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        (tmp_path / columns.NAME).write_bytes(content)
        read = columns.read(tmp_path)
        found += read is None
        if read is not None:  # a byte that nothing depends on
            np.testing.assert_array_equal(read["train"].targets["label"], [0, 1, 2])
            assert read["train"].texts["case_id"] == ["c0", "c1", "c2"]
    assert found > len(whole) / 2
    assert columns.read(tmp_path / "nothing") is None

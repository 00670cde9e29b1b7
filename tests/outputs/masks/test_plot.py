"""Which sections of a volume a picture shows."""

import numpy as np

from medjax.outputs.masks import plot


def sections(shape, structure):
    """The sizes of what is shown, and how much of the structure."""
    mask = np.zeros(shape, np.uint8)
    mask[structure] = 1
    shown = [view(mask) for view in plot._views(mask[..., None], mask)]
    return [part.shape for part in shown], [int(part.sum()) for part in shown]


def test_a_volume_is_cut_along_each_axis_where_most_is_seen():
    structure = (slice(2, 4), slice(3, 6), slice(4, 8))
    assert sections((10, 12, 14), structure) == ([(12, 10), (14, 10), (14, 12)], [6, 8, 12])


def test_of_a_stack_of_few_slices_three_are_shown():
    """At 15, 50 and 85 % of the slices 1 to 8 that the structure has: 2, 4 and 6."""
    shapes, seen = sections((40, 50, 9), (slice(5, 9), slice(5, 10), slice(1, 9)))
    assert shapes == [(50, 40)] * 3 and seen == [20] * 3
    assert sections((40, 50, 9), (slice(0),) * 3)[0] == shapes  # where there is none, of all

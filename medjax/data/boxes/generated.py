"""A set with boxes that is made, not acquired."""

import functools

from medjax.data import cells, images, splits
from medjax.data.boxes.case import BoxCase, BoxSet
from medjax.data.boxes.formats import NamedBox
from medjax.data.info import DatasetInfo
from medjax.data.options import BoxOptions

SEED = 2020
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}


def drawn_cells(options: BoxOptions) -> BoxSet:
    """Drawn cells of two kinds, in pictures or volumes."""
    names = [f"image_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(names, [0] * len(names), seed=SEED, shares=_SHARES)
    cases = [
        BoxCase(
            functools.partial(_image, i, options.ndim),
            functools.partial(_boxes, i, options.ndim),
            name,
            name,
            name,
            split,
        )
        for i, (name, split) in enumerate(zip(names, chosen, strict=True))
    ]
    info = DatasetInfo(
        "drawn_cells",
        subjects=f"synthetic, {len(cases)}",
        box_classes=cells.KINDS,
        modality="drawn",
        synthetic=True,
    )
    return BoxSet(info, cases, (cells.SIDE[options.ndim],) * options.ndim, 0.0)


def _image(index: int, ndim: int) -> images.RawImage:
    pixels, _ = cells.draw(SEED, index, ndim=ndim)
    return images.RawImage(pixels, None, None, "yx" if ndim == 2 else "zyx")


def _boxes(index: int, ndim: int, size: tuple[int, ...]) -> list[NamedBox]:
    _, drawn = cells.draw(SEED, index, ndim=ndim)
    return [
        NamedBox(cells.KINDS[c.kind], tuple(c.low[::-1].tolist()), tuple(c.high[::-1].tolist()))
        for c in drawn
    ]

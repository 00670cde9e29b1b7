"""Exam images brought together: one orientation, one size of voxels, one shape, and their classes.

Without it volumes that scanners stored in different orders are mirror images to a network.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medjax.data import geometry, images, table, walk
from medjax.data.found import Layout, RawImage, known_spacing
from medjax.data.options import DataOptions
from medjax.errors import UserError, unknown

_ALIKE = 1.02  # voxels of one size may differ by this factor


class Arrangement(NamedTuple):
    """How each image is brought to the form of the set.

    Attributes:
      shape: of its space; () keeps that which it has.
      spacing_mm: of the voxels, along each axis; None: each image is scaled to fit into the shape.
      oriented: volumes are turned so that their axes run right, front and up (RAS).
      fit: `pad` keeps proportions and fills with the lowest value, `stretch` does not.
      integer_type: the type of whole numbers that values are rounded to, by name; empty: none.
    """

    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] | None = None
    oriented: bool = False
    fit: str = "pad"
    integer_type: str = ""


def arrange(raw_image: RawImage, arrangement: Arrangement, *, origin: str) -> np.ndarray:
    """The pixels `[*space, channel]` in the form of the set.

    Raises:
      UserError: as `_place`.
    """
    pixels = _place(raw_image, arrangement, origin=origin)
    kept = arrangement.integer_type
    return round_to(pixels, kept) if kept else pixels


def round_to(pixels: np.ndarray, integer_type: str) -> np.ndarray:
    """Values as whole numbers of that type; those beyond its range are its ends."""
    ends = np.iinfo(integer_type)
    return np.clip(np.rint(pixels), ends.min, ends.max).astype(integer_type)


def _place(raw_image: RawImage, arrangement: Arrangement, *, origin: str) -> np.ndarray:
    """The same, of the type that the image has.

    Raises:
      UserError: if voxels have to be of one size, and this image does not tell its own.
    """
    pixels, spacing = (
        turned(raw_image) if arrangement.oriented else (raw_image.pixels, raw_image.spacing_mm)
    )
    if not arrangement.shape:
        return pixels
    size = np.array(pixels.shape[:-1], float)
    if arrangement.spacing_mm is not None:
        if not known_spacing(spacing):
            raise UserError(
                f"{origin}: the size of its voxels is not known, and all are brought "
                "to one size; mend the file, give spacing_mm from Python, or train "
                "with `keep_spacing`"
            )
        return _on_grid(
            pixels, np.array(arrangement.spacing_mm) / np.array(spacing), arrangement.shape
        )
    if arrangement.fit == "stretch":
        return images.resize(pixels, arrangement.shape)
    extent = size * (np.array(spacing) if known_spacing(spacing) else 1.0)
    sides = extent / (extent / np.array(arrangement.shape)).max()
    grid_size = np.maximum(np.rint(sides).astype(int), 1)
    return _centred(images.resize(pixels, tuple(grid_size.tolist())), arrangement.shape)


def turned(raw_image: RawImage) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """Pixels and spacing with the axes of RAS, where the file tells how it lies.

    Of a slice the two axes that it has stay in that order.
    """
    if raw_image.affine is None or len(raw_image.affine) != 4:
        return raw_image.pixels, raw_image.spacing_mm
    flat = raw_image.pixels.ndim == 3
    volume = raw_image.pixels[:, :, None] if flat else raw_image.pixels
    pixels, back = geometry.canonical(volume, raw_image.affine)
    spacing = np.abs(back[:-1, :-1]).T @ geometry.spacing_mm(raw_image.affine)
    if flat:
        across = int(np.abs(back[2, :3]).argmax())  # where the axis went that a slice lacks
        return pixels.squeeze(across), tuple(np.delete(spacing, across).tolist())
    return pixels, tuple(spacing.tolist())


def _on_grid(pixels: np.ndarray, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The image on a grid about its centre, of which a step is `factor` of its voxels."""
    middle, goal = (np.array(pixels.shape[:-1]) - 1) / 2, (np.array(shape) - 1) / 2
    wide, back = geometry.widen(pixels, geometry.scaling(factor, middle - factor * goal))
    return geometry.resample(wide, back, shape=shape)


def _centred(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cut or filled to a shape about the same centre."""
    low = pixels.reshape(-1, pixels.shape[-1]).min(0)
    out = np.empty((*shape, pixels.shape[-1]), pixels.dtype)
    out[...] = low
    sizes = list(zip(pixels.shape[:-1], shape, strict=True))
    source = tuple(slice(max((n - m) // 2, 0), max((n - m) // 2, 0) + min(n, m)) for n, m in sizes)
    target = tuple(slice(max((m - n) // 2, 0), max((m - n) // 2, 0) + min(n, m)) for n, m in sizes)
    out[target] = pixels[source]
    return out


def plan(
    layouts: Sequence[Layout | None], shape: tuple[int, ...], options: DataOptions
) -> tuple[Arrangement, list[str]]:
    """How the images of a set are brought together, and what to say of it.

    Args:
      layouts: of each image; None of a picture.
      shape: of the first image's space.
    """
    ndim, side = len(shape), options.image_size
    wanted = (side,) * ndim if side else ()
    volumes = [x for x in layouts if x is not None and len(x.shape) == ndim]
    placed = [reoriented(x) for x in volumes if x.affine is not None]
    notes = _orientation_notes(volumes) if ndim == 3 or placed else []
    if ndim != 3 or not volumes:
        return Arrangement(wanted, oriented=bool(placed), fit=options.fit), notes
    extents = placed + [x for x in volumes if x.affine is None and known_spacing(x.spacing_mm)]
    sizes = np.array([x.spacing_mm for x in extents], float)
    shapes = np.array([x.shape for x in extents], float)
    if not len(sizes) or (sizes.max(0) / sizes.min(0)).max() <= _ALIKE or options.keep_spacing:
        if len(sizes) and options.keep_spacing:
            notes += [f"voxels of {_range(sizes)} mm are taken as they are (`keep_spacing`)"]
        return Arrangement(wanted, None, bool(placed), options.fit), notes
    if side:  # one scale for all, at which the largest fits
        grid = np.full(3, (sizes * shapes / side).max())
        goal = wanted
    else:
        grid = np.median(sizes, 0)
        goal = tuple(np.rint(np.median(sizes * shapes, 0) / grid).astype(int).tolist())
    notes += [
        f"voxels of {_range(sizes)} mm resampled to {_times(grid)} mm, "
        f"{' x '.join(map(str, goal))} of them (`keep_spacing` takes them as they are)"
    ]
    return Arrangement(goal, tuple(grid.tolist()), bool(placed), options.fit), notes


def common_type(layouts: Sequence[Layout | None]) -> str:
    """The type of whole numbers that all of them store, as of `Layout`; empty: none."""
    types = {layout.integer_type if layout else "" for layout in layouts}
    return types.pop() if len(types) == 1 else ""


def reoriented(layout: Layout) -> Layout:
    """Shape and spacing in the order of RAS."""
    assert layout.affine is not None
    empty = np.broadcast_to(np.zeros(1, np.uint8), (*layout.shape, 1))
    pixels, spacing = turned(RawImage(empty, layout.spacing_mm, layout.affine))
    return layout._replace(shape=pixels.shape[:-1], spacing_mm=spacing)


def _orientation_notes(volumes: Sequence[Layout]) -> list[str]:
    from nibabel import aff2axcodes

    codes = Counter(
        "".join(map(str, aff2axcodes(v.affine))) for v in volumes if v.affine is not None
    )
    unsaid = len(volumes) - sum(codes.values())
    other = ", ".join(f"{n} {code}" for code, n in codes.most_common() if code != "RAS")
    what = "volumes" if len(volumes[0].shape) == 3 else "slices"
    notes = [f"{what} brought to the orientation RAS ({other})"] if other else []
    return notes + (
        [f"{unsaid} of {len(volumes)} {what} state no orientation and are taken as they are stored"]
        if unsaid
        else []
    )


def _range(sizes: np.ndarray) -> str:
    return f"{sizes.min():.3g} to {sizes.max():.3g}"


def _times(values: np.ndarray) -> str:
    return " x ".join(f"{v:.3g}" for v in values)


def order_classes(
    labels: Sequence[str], class_order: tuple[str, ...]
) -> tuple[tuple[str, ...], bool]:
    """The classes in the order of their labels, and whether it has a meaning.

    Numbers have their order; other names have one only if it is declared.

    Raises:
      UserError: if the declared order is not one of these classes, or two names differ by case.
    """
    names = sorted(set(labels), key=walk.natural)
    table.check_alike(names, what="classes")
    if all(map(table.is_number, names)) and len({float(name) for name in names}) < len(names):
        raise UserError(
            f"the classes {', '.join(names)} are numbers of which two are the same; "
            "write each in one way"
        )
    if not class_order:
        return tuple(names), len(names) > 2 and all(map(table.is_number, names))
    odd = set(class_order) ^ set(names)
    if odd or len(class_order) != len(names):
        raise UserError(
            f"`class_order={','.join(class_order)}`: the classes are "
            f"{', '.join(names)}; name each once"
        )
    return class_order, True


def positive_of(classes: Sequence[str], wish: str) -> str:
    """Of two classes the one that is looked for; empty of more.

    Raises:
      UserError: if the wish is none of them, or there are more than two.
    """
    if wish and len(classes) != 2:
        raise UserError(f"`positive_class={wish}`: there are {len(classes)} classes; it is for two")
    if wish and wish not in classes:
        raise unknown("value of `positive_class`", wish, classes)
    return wish or (classes[1] if len(classes) == 2 else "")

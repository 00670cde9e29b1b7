"""Published sets with masks, in the layouts that they have."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medjax.data import images, splits, table
from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.masks.case import MaskCase, MaskSet, from_files
from medjax.data.options import MaskOptions
from medjax.errors import UserError

_ENDS = ("ofd_left", "ofd_right", "bpd_top", "bpd_bottom")  # of the axes of a head
_DECATHLON = (
    "Antonelli et al., The Medical Segmentation Decathlon. Nature Communications 13:4128, 2022."
)


def hippocampus(options: MaskOptions) -> MaskSet:
    """Crops of T1-weighted MR about the hippocampus (Decathlon, task 4), split by a table."""
    root = table.root_of(options)
    rows = {row["case"]: row for row in table.read_rows(root / "landmarks.csv")}
    cases = [
        _case(root, f"images/{name}.nii.gz", f"labels/{name}.nii.gz", name, row, options)
        for name, row in rows.items()
    ]
    info = DatasetInfo(
        "hippocampus",
        subjects=f"patients, {len(cases)}",
        structures=("anterior", "posterior"),
        modality="T1-weighted MR",
        licence="CC BY-SA 4.0",
        citation=_DECATHLON,
    )
    return MaskSet(info, cases, (1, 2))


def acdc(options: MaskOptions) -> MaskSet:
    """Short-axis cardiac MR at end diastole and end systole, split by a table.

    Where every file says voxels of 1 mm, their size was lost on the way, and is not known.
    """
    root = table.root_of(options)
    cases = [
        _case(
            root,
            f"images/{row['case']}.nii.gz",
            f"labels/{row['case']}.nii.gz",
            row["patient"],
            row,
            options,
        )
        for row in table.read_rows(root / "volumes.csv")
    ]
    cases = _without_lost_spacing(cases)
    info = DatasetInfo(
        "acdc",
        subjects=f"patients, {len({c.subject for c in cases})}",
        structures=("right ventricle", "myocardium", "left ventricle"),
        modality="cine MR, short axis",
        licence="CC BY-NC-SA 4.0",
        citation="Bernard et al., Deep learning techniques for automatic MRI cardiac "
        "multi-structures segmentation and diagnosis: is the problem solved? IEEE TMI "
        "37(11):2514-2525, 2018.",
    )
    return MaskSet(info, cases, (1, 2, 3))


def chasedb1(options: MaskOptions) -> MaskSet:
    """Vessels in fundus photographs of children, both eyes, as the first observer drew them."""
    root = table.root_of(options)
    cases = [
        _case(
            root,
            f"images/{row['image']}.jpg",
            f"observer1/{row['image']}.png",
            row["child"],
            row,
            options,
        )
        for row in table.read_rows(root / "images.csv")
    ]
    info = DatasetInfo(
        "chasedb1",
        subjects=f"children, {len({c.subject for c in cases})}",
        structures=("vessel",),
        modality="fundus photograph",
        licence="CC BY 4.0",
        citation="Fraz et al., An ensemble classification-based approach applied to retinal blood "
        "vessel segmentation. IEEE TBME 59(9):2538-2548, 2012.",
    )
    return MaskSet(info, cases, (255,))


def hc18(options: MaskOptions) -> MaskSet:
    """HC18: fetal heads in ultrasound, as filled ellipses with the axes of the experts' outlines.

    The axes come from the table of landmarks; they are given in pixels of the full image, those
    here are twice as large.
    """
    root = table.root_of(options)
    cases = []
    for row in table.read_rows(root / "landmarks.csv"):
        path = root / "images" / row["image"]
        ends = np.array(
            [[float(row[f"{end}_{axis}"]) for axis in "yx"] for end in _ENDS]
        )  # [4, 2], row and column
        head = functools.partial(
            _filled_ellipse, path, (ends + 0.5) / 2 - 0.5, limit_bytes=options.limit_bytes
        )
        case = from_files(
            root,
            path,
            path,
            limit_bytes=options.limit_bytes,
            subject=row["exam"],
            split=splits.split_name(row["split"], origin=row.origin),
            spacing_mm=2 * float(row["pixel_size_mm"]),
            metadata={"hc_mm_official": row["hc_mm_official"]},
        )
        cases.append(case._replace(read_mask=head))
    info = DatasetInfo(
        "hc18",
        subjects=f"exams, {len({c.subject for c in cases})}",
        structures=("head",),
        ellipses=(("hc", "ofd", "bpd"),),
        modality="ultrasound, fetal head",
        licence="CC BY 4.0",
        citation="van den Heuvel et al., Automated measurement of fetal head "
        "circumference using 2D ultrasound images. PLoS ONE 13(8):e0200412, 2018.",
    )
    notes = ("masks are the filled ellipses of the axes in landmarks.csv, not drawn outlines",)
    return MaskSet(info, cases, (1,), notes=notes)


def nuclei_dsb2018(options: MaskOptions) -> MaskSet:
    """Nuclei in fluorescence and stained microscopy, each numbered (Data Science Bowl 2018)."""
    root = table.root_of(options)
    cases = [
        _case(
            root,
            f"images/{row['image']}.png",
            f"labels/{row['image']}.png",
            "",
            row,
            options,
        )._replace(metadata={"kind": row["kind"]})
        for row in table.read_rows(root / "images.csv")
    ]
    cases = [c._replace(read=functools.partial(_in_colours, c.read)) for c in cases]
    info = DatasetInfo(
        "nuclei_dsb2018",
        structures=("nucleus",),
        instances=True,
        modality="microscopy",
        licence="CC0",
        citation="Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data "
        "Science Bowl. Nature Methods 16:1247-1253, 2019.",
    )
    return MaskSet(info, cases, ())


def _in_colours(read: Callable[[], RawImage]) -> RawImage:
    """Gray and coloured images alike in three channels."""
    image = read()
    return image._replace(pixels=images.in_channels(image.pixels, "rgb"))


def _filled_ellipse(path: Path, ends: np.ndarray, *, limit_bytes: int) -> RawImage:
    """The mask of an ellipse, of the size of an image.

    Args:
      ends: `[4, 2]`, row and column, of its first axis and of the other, in pixels of the image.
    """
    image = images.read(path, limit_bytes=limit_bytes)
    grid = np.stack(np.meshgrid(*map(np.arange, image.pixels.shape[:2]), indexing="ij"), -1)
    halves = np.stack([ends[1] - ends[0], ends[3] - ends[2]]) / 2
    along = (grid - ends.mean(0)) @ np.linalg.inv(halves)  # in half axes
    inside = (along**2).sum(-1) <= 1.0
    return image._replace(pixels=inside[..., None].astype(np.uint8))


def _without_lost_spacing(cases: list[MaskCase]) -> list[MaskCase]:
    layouts = [images.layout(c.path) for c in cases if c.path]
    if any(x is None or x.spacing_mm != (1.0, 1.0, 1.0) for x in layouts):
        return cases

    def without(read: Callable[[], RawImage]) -> RawImage:
        return read()._replace(spacing_mm=None, affine=None)

    return [
        c._replace(
            read=functools.partial(without, c.read),
            read_mask=functools.partial(without, c.read_mask),
        )
        for c in cases
    ]


def _case(
    root: Path, image: str, mask: str, subject: str, row: table.TableRow, options: MaskOptions
) -> MaskCase:
    for name in (image, mask):
        if not (root / name).exists():
            raise UserError(f"{row.origin}: {root / name}: no such file")
    return from_files(
        root,
        root / image,
        root / mask,
        limit_bytes=options.limit_bytes,
        subject=subject,
        split=splits.split_name(row["split"], origin=row.origin),
    )

"""Published sets with masks, in the layouts that they have."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from medjax.data import geometry, images, splits, table
from medjax.data.found import RawImage
from medjax.data.info import DatasetInfo
from medjax.data.landmarks import published as landmark_sets
from medjax.data.landmarks.case import LandmarkCase
from medjax.data.masks.case import MaskCase, MaskSet, from_files
from medjax.data.masks.folder import mask_folder, read_facts
from medjax.data.options import LandmarkOptions, MaskOptions, as_kind
from medjax.errors import UserError

_ENDS = ("ofd_left", "ofd_right", "bpd_top", "bpd_bottom")  # of the axes of a head
VOLUMES = {"image": "images/{case}.nii.gz", "mask": "labels/{case}.nii.gz"}
_DECATHLON = (
    "Antonelli et al., The Medical Segmentation Decathlon. Nature Communications 13:4128, 2022."
)


def hippocampus(options: MaskOptions) -> MaskSet:
    """Crops of T1-weighted MR about the hippocampus (Decathlon, task 4), split by a table."""
    root = table.root_of(options)
    rows = {row["case"]: row for row in table.read_rows(root / "landmarks.csv")}
    cases = read_cases(root, rows.values(), options, **VOLUMES, subject="case")
    info = DatasetInfo(
        "hippocampus",
        subjects=f"patients, {len(cases)}",
        structures=("anterior", "posterior"),
        modality="T1-weighted MR",
        licence="CC BY-SA 4.0",
        citation=_DECATHLON,
    )
    return MaskSet(info, cases, (1, 2))


def decathlon(options: MaskOptions) -> MaskSet:
    """A task of the Medical Segmentation Decathlon, as its `dataset.json` describes it."""
    root = table.root_of(options)
    facts = read_facts(root / "dataset.json")
    cases, named = mask_folder(options), facts.get("modality") or "unknown"
    modality = ", ".join(map(str, named.values())) if isinstance(named, dict) else str(named)
    info = dataclasses.replace(
        cases.info,
        name=f"decathlon {facts.get('name', root.name)}".lower(),
        modality=modality,
        licence=str(facts.get("licence", "CC BY-SA 4.0")),
        citation=_DECATHLON,
    )
    return cases._replace(info=info)


def acdc(options: MaskOptions) -> MaskSet:
    """Short-axis cardiac MR at end diastole and end systole, split by a table.

    Where every file says voxels of 1 mm, their size was lost on the way, and is not known.
    """
    root = table.root_of(options)
    rows = table.read_rows(root / "volumes.csv")
    cases = _without_lost_spacing(read_cases(root, rows, options, **VOLUMES, subject="patient"))
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
    rows = table.read_rows(root / "images.csv")
    files = {"image": "images/{image}.jpg", "mask": "observer1/{image}.png"}
    cases = read_cases(root, rows, options, **files, subject="child")
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

    The axes are those of the set of landmarks, scaled so that the ellipse has the official
    circumference: that of the axes is longer by about 6 pixels, as they end at the outer side of
    the drawn outline.
    """
    heads = landmark_sets.hc18(as_kind(options, LandmarkOptions))
    cases = [
        MaskCase(
            head.read,
            functools.partial(_filled_ellipse, head),
            head.origin,
            head.case_id,
            head.subject,
            head.split,
            head.spacing_mm,
            head.metadata,
            head.path,
        )
        for head in heads.cases
    ]
    info = dataclasses.replace(
        heads.info, landmarks=(), unordered=(), lengths=(), structures=("head",)
    )
    notes = (
        "masks are the filled ellipses of the axes in landmarks.csv, scaled to the official "
        "circumference, not drawn outlines",
    )
    return MaskSet(info, cases, (1,), notes=notes)


def nuclei_dsb2018(options: MaskOptions) -> MaskSet:
    """Nuclei in fluorescence and stained microscopy, each numbered (Data Science Bowl 2018)."""
    root = table.root_of(options)
    rows = table.read_rows(root / "images.csv")
    files = {"image": "images/{image}.png", "mask": "labels/{image}.png"}
    cases = [
        case._replace(
            read=functools.partial(_in_colours, case.read), metadata={"kind": row["kind"]}
        )
        for row, case in zip(rows, read_cases(root, rows, options, **files), strict=True)
    ]
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


def _filled_ellipse(head: LandmarkCase) -> RawImage:
    """The mask of the ellipse whose axes end at the landmarks, scaled to the official
    circumference, of the size of the image."""
    image = head.read()
    ends = np.array([head.points[name][::-1] for name in _ENDS])  # [4, 2], row and column
    grid = np.stack(np.meshgrid(*map(np.arange, image.pixels.shape[:2]), indexing="ij"), -1)
    axes = np.stack([ends[1] - ends[0], ends[3] - ends[2]])
    measured_mm = geometry.circumference(*np.linalg.norm(axes, axis=1)) * head.spacing_mm
    halves = axes / 2 * float(head.metadata["hc_mm_official"]) / measured_mm
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


def read_cases(
    root: Path,
    rows: Iterable[table.TableRow],
    options: MaskOptions,
    *,
    image: str,
    mask: str,
    subject: str = "",
) -> list[MaskCase]:
    """A case a row.

    Args:
      image, mask: their files below `root`, columns in braces.
      subject: the column that says whose it is; empty: none does.
    """
    cases = []
    for row in rows:
        paths = [root / name.format_map(row) for name in (image, mask)]
        for path in paths:
            if not path.exists():
                raise UserError(f"{row.origin}: {path}: no such file")
        case = from_files(
            root,
            *paths,
            limit_bytes=options.limit_bytes,
            subject=row[subject] if subject else "",
            split=splits.split_name(row["split"], origin=row.origin),
        )
        cases.append(case)
    return cases

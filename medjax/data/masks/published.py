"""Published sets with masks, in the layouts that they have."""

from pathlib import Path

from medjax.data import splits, table
from medjax.data.info import DatasetInfo
from medjax.data.masks.case import MaskCase, MaskSet, from_files
from medjax.data.options import MaskOptions
from medjax.errors import UserError

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
    """Short-axis cardiac MR at end diastole and end systole, split by a table."""
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

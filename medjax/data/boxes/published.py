"""Published sets with boxes, in the layouts that they have."""

import functools

from medjax.data import images, splits, table
from medjax.data.boxes.case import BoxCase, BoxSet
from medjax.data.boxes.folder import boxes_of_rows, keep_boxes
from medjax.data.info import DatasetInfo
from medjax.data.options import BoxOptions


def bccd(options: BoxOptions) -> BoxSet:
    """Blood smears: red and white cells and platelets, official split."""
    root = table.root_of(options)
    path = root / "boxes.csv"
    by_image: dict[str, list[table.TableRow]] = {}
    for row in table.read_rows(path):
        by_image.setdefault(row["image"], []).append(row)
    cases = []
    for name, rows in by_image.items():
        file = root / "images" / f"{name}.jpg"
        cases.append(
            BoxCase(
                functools.partial(images.read, file, limit_bytes=options.limit_bytes),
                keep_boxes(boxes_of_rows(path, rows)),
                str(file),
                file.relative_to(root).as_posix(),
                name,
                splits.split_name(rows[0]["split"], origin=rows[0].origin),
                path=file,
            )
        )
    info = DatasetInfo(
        "bccd",
        box_classes=("RBC", "WBC", "Platelets"),
        modality="light microscopy, blood smears",
        licence="MIT",
        citation="BCCD dataset: small-scale dataset for blood cell detection.",
    )
    return BoxSet(info, cases, (240, 320), 0.0)

"""Published sets with boxes, in the layouts that they have."""

from medjax.data import splits, table
from medjax.data.boxes.case import BoxSet
from medjax.data.boxes.folder import boxes_of_rows, case_of, group_rows, keep_boxes
from medjax.data.info import DatasetInfo
from medjax.data.options import BoxOptions


def bccd(options: BoxOptions) -> BoxSet:
    """Blood smears: red and white cells and platelets, official split."""
    root = table.root_of(options)
    path = root / "boxes.csv"
    cases = []
    for name, rows in group_rows(table.read_rows(path), "image").items():
        file, boxes = root / "images" / f"{name}.jpg", keep_boxes(boxes_of_rows(path, rows))
        split = splits.split_name(rows[0]["split"], origin=rows[0].origin)
        cases.append(case_of(root, file, boxes, options, {"split": split}))
    info = DatasetInfo(
        "bccd",
        box_classes=("RBC", "WBC", "Platelets"),
        modality="light microscopy, blood smears",
        licence="MIT",
        citation="BCCD dataset: small-scale dataset for blood cell detection.",
    )
    return BoxSet(info, cases, (240, 320), 0.0)

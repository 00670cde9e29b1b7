"""The sets that medjax knows, in a line each: what they are for, how large, from where, on which
terms.

Sizes are those that the publishers give; of one's own files and of generated sets there is no fixed
size. Nothing here is read when a set is opened.
"""

from typing import NamedTuple

from medjax.data.medmnist_sets import LARGER, SETS, SEVERAL, base_of


class SetSummary(NamedTuple):
    """A line of `medjax datasets`.

    Attributes:
      finds: what is to be found in it: labels, landmarks, masks, pairs, boxes or frames.
      content: what it shows, and what is to be found.
      size: how many images and subjects.
      source: where the images come from.
      licence: their terms.
    """

    finds: tuple[str, ...]
    content: str
    size: str
    source: str
    licence: str


_OWN = "your files"
_YOURS = "yours"
_TEMPLATE = "generated from ICBM 152 2009"
_TEMPLATE_LICENCE = "permissive (McGill)"
_MEDMNIST_IMAGES = {  # of all splits, MedMNIST v2
    "pathmnist": 107_180,
    "chestmnist": 112_120,
    "dermamnist": 10_015,
    "octmnist": 109_309,
    "pneumoniamnist": 5_856,
    "retinamnist": 1_600,
    "breastmnist": 780,
    "bloodmnist": 17_092,
    "tissuemnist": 236_386,
    "organamnist": 58_830,
    "organcmnist": 23_583,
    "organsmnist": 25_211,
    "organmnist3d": 1_742,
    "nodulemnist3d": 1_633,
    "adrenalmnist3d": 1_584,
    "fracturemnist3d": 1_370,
    "vesselmnist3d": 1_908,
    "synapsemnist3d": 1_759,
}


def _medmnist(name: str) -> SetSummary:
    base = base_of(name)
    modality, _, classes = SETS[base]
    return SetSummary(
        ("labels",),
        f"{modality}, {len(classes)} {'findings' if base in SEVERAL else 'classes'}",
        f"{_MEDMNIST_IMAGES[base]:,} images",
        "downloaded (Zenodo), or --data_dir" if name in SETS else "--data_dir",
        "CC BY-NC 4.0" if base == "dermamnist" else "CC BY 4.0",
    )


SUMMARIES = {
    "brain_planes": SetSummary(
        ("labels",), "brain MR slices, 10 levels", "--subjects", _TEMPLATE, _TEMPLATE_LICENCE
    ),
    "image_folder": SetSummary(
        ("labels",), "a folder a class, or metadata.csv", _YOURS, _OWN, _YOURS
    ),
    **{name: _medmnist(name) for name in (*SETS, *LARGER)},
    "ham10000": SetSummary(
        ("labels",), "dermatoscopy, 7 diagnoses", "10,015 images", "--data_dir", "CC BY-NC 4.0"
    ),
    "covid_cxr": SetSummary(
        ("labels",), "chest X-ray, findings", "by release", "--data_dir", "by image"
    ),
    "brixia_cxr": SetSummary(
        ("labels",),
        "chest X-ray, scores 0 to 3 of six zones",
        "192 films, of the public part",
        "--data_dir",
        "scores CC BY-NC-SA 4.0",
    ),
    "brain_landmarks": SetSummary(
        ("landmarks",),
        "brain MR, 2-D or 3-D, AFIDs",
        "--subjects",
        _TEMPLATE,
        _TEMPLATE_LICENCE,
    ),
    "synthetic_hand": SetSummary(("landmarks",), "drawn hands", "--subjects", "generated", ""),
    "landmark_folder": SetSummary(
        ("landmarks",), "landmarks.csv, or 3D Slicer's files", _YOURS, _OWN, _YOURS
    ),
    "hc18": SetSummary(
        ("landmarks", "masks"),
        "fetal head ultrasound, axes",
        "999 images (training)",
        "--data_dir",
        "CC BY 4.0",
    ),
    "mouse_skull": SetSummary(
        ("landmarks",), "micro-CT of mice, 45 points", "by release", "--data_dir", "GPL-3.0"
    ),
    "hippocampus": SetSummary(
        ("landmarks", "masks"),
        "MR of the hippocampus; derived points",
        "260 volumes",
        "--data_dir (Decathlon)",
        "CC BY-SA 4.0",
    ),
    "afids": SetSummary(
        ("landmarks",), "brain MR, 32 points", "by release", "--data_dir", "CC BY 4.0 (points)"
    ),
    "isbi2015": SetSummary(
        ("landmarks",), "cephalograms, 19 points", "400 images", "--data_dir", "ask the authors"
    ),
    "hand_xray": SetSummary(
        ("landmarks",), "hand X-rays, 37 points", "895 images", "--data_dir", "ask the authors"
    ),
    "brain_tissue": SetSummary(
        ("masks",), "brain MR, grey and white matter", "--subjects", _TEMPLATE, _TEMPLATE_LICENCE
    ),
    "brain_pairs": SetSummary(
        ("pairs",), "brain MR and its deformations", "--subjects", _TEMPLATE, _TEMPLATE_LICENCE
    ),
    "image_pairs": SetSummary(("pairs",), "images to be registered", _YOURS, _OWN, _YOURS),
    "hippocampus_pairs": SetSummary(
        ("pairs",),
        "MR of the hippocampus, 2 structures",
        "29 pairs of 200",
        "--data_dir",
        "CC BY-SA 4.0",
    ),
    "mouse_brain": SetSummary(
        ("pairs",), "MR of mouse brains, 37 structures", "8 volumes", "--data_dir", "GPL-3.0"
    ),
    "mask_folder": SetSummary(("masks",), "images, and a mask of each", _YOURS, _OWN, _YOURS),
    "decathlon": SetSummary(
        ("masks",),
        "MR and CT of ten organs, a folder a task",
        "30 to 750 volumes a task",
        "--data_dir",
        "CC BY-SA 4.0",
    ),
    "chasedb1": SetSummary(
        ("masks",), "fundus photographs, vessels", "28 images", "--data_dir", "CC BY 4.0"
    ),
    "nuclei_dsb2018": SetSummary(
        ("masks",), "microscopy, single nuclei", "670 images", "--data_dir", "CC0"
    ),
    "drawn_cells": SetSummary(
        ("boxes",), "drawn cells of two kinds, 2-D or 3-D", "--subjects", "generated", ""
    ),
    "box_folder": SetSummary(
        ("boxes",), "boxes.csv, Pascal VOC, COCO or YOLO", _YOURS, _OWN, _YOURS
    ),
    "bccd": SetSummary(
        ("boxes",), "blood smears, three kinds of cells", "364 images", "--data_dir", "MIT"
    ),
    "beating_heart": SetSummary(
        ("frames",), "drawn cine MR, ED and ES", "--subjects", "generated", ""
    ),
    "brain_sweeps": SetSummary(
        ("frames",), "sweeps through a brain, 4 planes", "--subjects", _TEMPLATE, _TEMPLATE_LICENCE
    ),
    "sequence_folder": SetSummary(("frames",), "frames.csv", _YOURS, _OWN, _YOURS),
    "sunnybrook_cine": SetSummary(
        ("frames",), "cine MR, ED and ES", "45 patients", "--data_dir", "CC0"
    ),
    "acdc": SetSummary(
        ("frames", "masks"), "cine MR, ED and ES", "150 patients", "--data_dir", "ask the authors"
    ),
    "echonet_dynamic": SetSummary(
        ("frames",), "echocardiograms, ED and ES", "10,030 videos", "--data_dir", "research use"
    ),
}

"""Published sets with landmarks, in the layouts that they have."""

from pathlib import Path

import numpy as np

from medjax.data import landmark_table, splits, table
from medjax.data.afids import AFIDS_RAS_MM, CITATION, MIRRORED
from medjax.data.info import DatasetInfo
from medjax.data.landmarks.case import LandmarkSet, find_image, from_file, from_lists
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError


def hc18(options: LandmarkOptions) -> LandmarkSet:
    """HC18: fetal heads in ultrasound, axes of the ellipses fitted to the experts' outlines."""
    root = table.root_of(options)
    path = root / "landmarks.csv"
    entries = landmark_table.read(path, path_column="image", coordinates="pixel", ndim=2)
    cases = []
    for image, entry in entries.items():
        # Given in pixels of the full image; those here are twice as large.
        half = {n: [(v + 0.5) / 2 - 0.5 for v in p] for n, p in entry.points.items()}
        row = entry.row
        cases.append(
            from_file(
                root,
                root / "images" / image,
                points=half,
                system="pixel",
                subject=row["exam"],
                split=splits.split_name(row["split"], origin=row.origin),
                spacing_mm=2 * float(row["pixel_size_mm"]),
                metadata={"hc_mm_official": row["hc_mm_official"]},
                limit_bytes=options.limit_bytes,
            )
        )
    names = ("centre", "ofd_left", "ofd_right", "bpd_top", "bpd_bottom")
    info = DatasetInfo(
        "hc18",
        subjects=f"exams, {len({c.subject for c in cases})}",
        landmarks=names,
        modality="ultrasound, fetal head",
        unordered=(("ofd_left", "ofd_right"), ("bpd_top", "bpd_bottom")),
        lengths=(("bpd", "bpd_top", "bpd_bottom"), ("ofd", "ofd_left", "ofd_right")),
        ellipses=(("hc", "ofd", "bpd"),),
        licence="CC BY 4.0",
        citation="van den Heuvel et al., Automated measurement of fetal head "
        "circumference using 2D ultrasound images. PLoS ONE 13(8):e0200412, 2018.",
    )
    return LandmarkSet(info, cases, (128, 192), 0.0)


def mouse_skull(options: LandmarkOptions) -> LandmarkSet:
    """Heads of mice in micro-CT, 45 manual points each, in any pose."""
    root = table.root_of(options)
    facts = {row["volume"]: row for row in table.read_rows(root / "volumes.csv")}
    entries = landmark_table.read(root / "landmarks.csv", coordinates="LPS", ndim=3)
    cases = [
        from_file(
            root,
            root / "volumes" / f"{name}.nii.gz",
            points=entry.points,
            system="LPS",
            subject=name,
            split=splits.split_name(facts[name]["split"], origin=name),
            limit_bytes=options.limit_bytes,
        )
        for name, entry in entries.items()
        if name in facts
    ]
    names = tuple(dict.fromkeys(name for case in cases for name in case.points))
    info = DatasetInfo(
        "mouse_skull",
        subjects=f"animals, {len(cases)}",
        landmarks=names,
        modality="micro-CT, head of a mouse",
        licence="GPL-3.0",
        citation="Maga et al., A population level atlas of Mus musculus "
        "craniofacial skeleton and automated image-based shape analysis. Journal of Anatomy "
        "231:433-443, 2017.",
    )
    return LandmarkSet(info, cases, (64, 64, 64), 0.42)


def hippocampus(options: LandmarkOptions) -> LandmarkSet:
    """Crops of T1-weighted MR about the hippocampus; five points derived from its masks."""
    root = table.root_of(options)
    entries = landmark_table.read(
        root / "landmarks.csv", path_column="case", coordinates="voxel", ndim=3
    )
    names = (
        "anterior_part_centroid",
        "posterior_part_centroid",
        "anterior_tip",
        "posterior_tip",
        "junction_centroid",
    )
    cases = [
        from_file(
            root,
            root / "images" / f"{name}.nii.gz",
            system="voxel",
            subject=name,
            points={n: entry.points[n] for n in names},
            split=splits.split_name(entry.row["split"], origin=name),
            limit_bytes=options.limit_bytes,
        )
        for name, entry in entries.items()
    ]
    info = DatasetInfo(
        "hippocampus",
        subjects=f"patients, {len(cases)}",
        landmarks=names,
        modality="T1-weighted MR; points derived from masks",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon. "
        "Nature Communications 13:4128, 2022.",
    )
    return LandmarkSet(info, cases, (48, 64, 48), 1.0)


def afids(options: LandmarkOptions) -> LandmarkSet:
    """Brains with the 32 AFIDs: each volume with a Slicer list of its name beside it, or, as of
    the templates, with a table `NAME_landmarks.csv` beside `NAME_T1w.nii.gz`."""
    root = table.root_of(options)
    tables = sorted(root.glob("*_landmarks.csv"))
    cases, known_by, notes = ([], "", []) if tables else from_lists(root, options)
    for path in tables:
        volume = path.with_name(path.name.replace("_landmarks.csv", "_T1w.nii.gz"))
        rows = table.read_rows(path)
        points = {r["name"]: [float(r[f"{a}_ras_mm"]) for a in "xyz"] for r in rows}
        cases.append(
            from_file(root, volume, points=points, system="RAS", limit_bytes=options.limit_bytes)
        )
    known = [
        c._replace(points={n: p for n, p in c.points.items() if n in AFIDS_RAS_MM}) for c in cases
    ]
    if not cases or not all(c.points for c in known):
        raise UserError(f"`data_dir={root}`: no volumes with lists of AFIDs beside them")
    info = DatasetInfo(
        "afids",
        landmarks=tuple(AFIDS_RAS_MM),
        mirrored=MIRRORED,
        modality="T1-weighted MR",
        licence="CC BY 4.0 (points)",
        citation=CITATION,
    )
    return LandmarkSet(info, known, (96, 112, 96), 2.0, known_by, tuple(notes))


def isbi2015(options: LandmarkOptions) -> LandmarkSet:
    """Cephalograms of the ISBI 2015 challenge: 19 points, the mean of two raters, 0.1 mm pixels.

    Layout: images `RawImage/{TrainingData,Test1Data,Test2Data}/NNN.bmp`, points
    `[AnnotationsByMD/]400_{senior,junior}/NNN.txt`, whose first 19 lines are `x,y`. Test1 and
    Test2 together are the test split; the distance of the raters stands in the metadata.
    """
    root = table.root_of(options)
    base = next((p for p in (root / "AnnotationsByMD", root) if (p / "400_senior").is_dir()), None)
    folders = {"TrainingData": "train", "Test1Data": "test", "Test2Data": "test"}
    files = [
        (p, split)
        for name, split in folders.items()
        for p in sorted((root / "RawImage" / name).glob("*.bmp"))
    ]
    if base is None or not files:
        raise UserError(
            f"`data_dir={root}`: needs RawImage/TrainingData/*.bmp and 400_senior/ and "
            "400_junior/, as the challenge has them"
        )
    names = (
        "sella",
        "nasion",
        "orbitale",
        "porion",
        "subspinale",
        "supramentale",
        "pogonion",
        "menton",
        "gnathion",
        "gonion",
        "lower incisal incision",
        "upper incisal incision",
        "upper lip",
        "lower lip",
        "subnasale",
        "soft tissue pogonion",
        "posterior nasal spine",
        "anterior nasal spine",
        "articulare",
    )
    cases = []
    for path, split in files:
        raters = np.stack(
            [
                _ceph_points(base / f"400_{who}" / f"{path.stem}.txt", len(names))
                for who in ("senior", "junior")
            ]
        )
        apart = 0.1 * np.sqrt(((raters[0] - raters[1]) ** 2).sum(-1))
        cases.append(
            from_file(
                root,
                path,
                points=dict(zip(names, raters.mean(0).tolist(), strict=True)),
                system="pixel",
                subject=path.stem,
                split=split,
                spacing_mm=0.1,
                metadata={"rater_error_mm": " ".join(f"{d:.4f}" for d in apart)},
                limit_bytes=options.limit_bytes,
            )
        )
    info = DatasetInfo(
        "isbi2015",
        subjects=f"patients, {len(cases)}",
        landmarks=names,
        modality="cephalogram",
        citation="Wang et al., A benchmark "
        "for comparison of dental radiography analysis algorithms. Medical Image Analysis "
        "31:63-76, 2016.",
    )
    return LandmarkSet(info, cases, (512, 416), 0.0)


def _ceph_points(path: Path, count: int) -> np.ndarray:
    try:
        lines = path.read_text().split()[:count]
        return np.array([[float(v) for v in line.split(",")] for line in lines]).reshape(count, 2)
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: not {count} lines of x,y ({e})") from None


WRIST = {"payer": (1, 5), "uald": (0, 4)}  # the landmarks that are taken to be 50 mm apart


def hand_xray(options: LandmarkOptions) -> LandmarkSet:
    """Hand X-rays of the Digital Hand Atlas with Payer's 37 points.

    Layout: `images/ID.*`, `setup/all.csv` (ID, x, y, x, y, ...), `setup/cvN/{train,test}.txt`. The
    images have no spacing: the wrist (`--wrist`: which two points) is taken to be 50 mm wide.
    """
    root = table.root_of(options)
    listed = root / "setup" / "all.csv"
    fold = root / "setup" / f"cv{options.published_fold}"
    try:
        lines = [line.split(",") for line in listed.read_text().splitlines() if line.strip()]
        points = {row[0].strip(): np.array(row[1:75], float).reshape(37, 2) for row in lines}
        split_of = {
            name: split
            for split in ("train", "test")
            for name in (fold / f"{split}.txt").read_text().split()
        }
    except (OSError, ValueError) as e:
        raise UserError(
            f"`data_dir={root}`: needs setup/all.csv of an ID and 37 x,y a line and "
            f"setup/cv{options.published_fold}/train.txt and test.txt ({e})"
        ) from None
    names = tuple(f"point {i:02d}" for i in range(37))
    a, b = WRIST[options.wrist]
    cases = []
    for name, split in split_of.items():
        if name not in points:
            raise UserError(
                f"{listed}: has no points of {name}, which cv{options.published_fold} names"
            )
        path = find_image(root / "images", options, name, str(fold))
        wide = float(np.linalg.norm(points[name][a] - points[name][b]))
        cases.append(
            from_file(
                root,
                path,
                points=dict(zip(names, points[name].tolist(), strict=True)),
                system="pixel",
                subject=name,
                split=split,
                spacing_mm=50.0 / wide,
                limit_bytes=options.limit_bytes,
            )
        )
    info = DatasetInfo(
        "hand_xray",
        subjects=f"patients, {len(cases)}",
        landmarks=names,
        modality="X-ray of the left hand",
        citation="Payer et al., Integrating spatial configuration into heatmap regression based "
        "CNNs for landmark localization. Medical Image Analysis 54:207-219, 2019; Gertych et al., "
        "Bone age assessment of children using a digital hand atlas, 2007 (the images).",
    )
    return LandmarkSet(info, cases, (256, 256), 0.0)

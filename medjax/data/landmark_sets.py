"""Sets of images with landmarks: one's own folder, and published ones in their layouts."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax.data import brain, geometry, hand, images, landmark_table, slicer, splits
from medjax.data.afids import AFIDS_RAS_MM, MIDLINE, MIRRORED
from medjax.data.info import DatasetInfo
from medjax.data.options import LandmarkOptions
from medjax.errors import UserError

_TEMPLATE = ("Fonov et al., Unbiased average age-appropriate atlases for pediatric studies. "
             "NeuroImage 54:313-327, 2011 (the template).")
_AFIDS = ("Lau et al., A framework for evaluating correspondence between brain images using "
          "anatomical fiducials. Human Brain Mapping 40:4163-4179, 2019; Taha et al., Scientific "
          "Data 10:449, 2023.")


class Case(NamedTuple):
    """One image with its points, before its pixels are read.

    Attributes:
      read: the image.
      points: by landmark; in `system`: voxel (order of the array), pixel (x, y[, z] of the file),
        or LPS or RAS mm.
      spacing_mm: of every axis, where the file does not tell it.
    """

    read: Callable[[], images.Found]
    origin: str
    case_id: str
    subject: str
    split: str | None
    points: Mapping[str, Sequence[float]]
    system: str
    spacing_mm: float | None = None
    metadata: Mapping[str, str] = {}


class LandmarkSet(NamedTuple):
    """The cases, and the grid that every image is brought to where no other is asked for."""

    info: DatasetInfo
    cases: list[Case]
    shape: tuple[int, ...]
    grid_mm: float


def from_file(root: Path, path: Path, *, points: Mapping, system: str, subject: str = "",
              split: str | None = None, spacing_mm: float | None = None,
              metadata: Mapping[str, str] | None = None) -> Case:
    """A case whose image is a file below `root`."""
    name = path.relative_to(root).as_posix()
    return Case(functools.partial(images.read, path), str(path), name, subject or name, split,
                points, system, spacing_mm, metadata or {})


def landmark_folder(options: LandmarkOptions) -> LandmarkSet:
    """One's own images: `landmarks.csv`, or a `.mrk.json` or `.fcsv` beside each image.

    A `metadata.csv` may give split, subject and spacing where `landmarks.csv` does not.
    """
    root = _root(options)
    table = root / "landmarks.csv"
    cases = _from_table(table, options) if table.exists() else _from_lists(root, options)
    if not cases:
        raise UserError(f"--data_dir={root}: neither landmarks.csv, nor images with "
                        f"{' or '.join(slicer.SUFFIXES)} beside them")
    first = cases[0].read()
    size = np.array(first.spacing_mm or (cases[0].spacing_mm or 1.0,) * (first.pixels.ndim - 1))
    extent = np.array(first.pixels.shape[:-1])
    if first.affine is not None:
        turned, back = geometry.canonical(first.pixels, first.affine)
        size, extent = np.abs(back[:-1, :-1]).T @ size, np.array(turned.shape[:-1])
    shape = tuple(int(math.ceil(n / 16) * 16) for n in extent * size / size.min())
    names = tuple(dict.fromkeys(name for case in cases for name in case.points))
    return LandmarkSet(DatasetInfo(root.resolve().name, landmarks=names), cases, shape, 0.0)


def _root(options: LandmarkOptions) -> Path:
    root = Path(options.data_dir)
    if not options.data_dir or not root.is_dir():
        raise UserError(f"--data_dir={options.data_dir}: no such folder")
    return root


def _from_table(table: Path, options: LandmarkOptions) -> list[Case]:
    root = table.parent
    first = landmark_table.read_rows(table)[0]
    guess = next((first[c] for c in (options.path_column, *landmark_table.PATHS) if c in first), "")
    sample = images.read(_find(root, options, guess, f"{table}, line 2"))
    entries = landmark_table.read(
        table, path_column=options.path_column, name_column=options.name_column,
        coordinates=options.coordinates, ndim=sample.pixels.ndim - 1)
    more = _metadata(root, options)
    cases = []
    for image, entry in entries.items():
        origin = f"{table}, line {entry.line}"
        row = {**entry.row, **more.get(image, {})}
        split = row.get(options.split_column) or None
        cases.append(from_file(
            root, _find(root, options, image, origin), points=entry.points, system=entry.system,
            subject=row.get(options.subject_column, ""),
            split=splits.split_name(split, origin=origin) if split else None,
            spacing_mm=_spacing(row.get(options.spacing_column, ""), origin)))
    return cases


def _metadata(root: Path, options: LandmarkOptions) -> dict[str, dict[str, str]]:
    """The rows of `metadata.csv` by image; none where there is no such file."""
    path = root / "metadata.csv"
    if not path.exists():
        return {}
    rows = landmark_table.read_rows(path)
    names = (options.path_column, *landmark_table.PATHS)
    key = next((c for c in names if c in rows[0]), None)
    if key is None:
        raise UserError(f"{path}: no column of the images ({', '.join(landmark_table.PATHS)})")
    return {row[key]: row for row in rows}


def _find(root: Path, options: LandmarkOptions, name: str, origin: str) -> Path:
    """The file of an image, with or without its suffix in the table."""
    base = root / options.path_folder
    path = base / (name + options.path_suffix)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{origin}: {name!r} leaves the folder; paths are relative to it")
    tries = [path, *(base / (name + s) for s in images.SUFFIXES)]
    found = next((p for p in tries if p.is_file()), None)
    if found is None:
        raise UserError(f"{origin}: no image {path}; --path_folder and --path_suffix are put "
                        "before and after each name")
    return found


def _spacing(text: str, origin: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"{origin}: the spacing {text!r} is no positive number of mm")
    return value


def _from_lists(root: Path, options: LandmarkOptions) -> list[Case]:
    more = _metadata(root, options)
    cases = []
    for path in sorted(p for p in root.rglob("*") if images.suffix(p) in images.SUFFIXES):
        stem = path.name[: -len(images.suffix(path))]
        lists = [path.with_name(stem + s) for s in slicer.SUFFIXES]
        present = [p for p in lists if p.exists()]
        if len(present) > 1:
            raise UserError(f"{path}: has both {present[0].name} and {present[1].name}; keep one")
        if present:
            points, system = slicer.read(present[0])
            name = path.relative_to(root).as_posix()
            row = more.get(name, {})
            split = row.get(options.split_column) or None
            cases.append(from_file(
                root, path, points=points, system="voxel" if system == "IJK" else system,
                subject=row.get(options.subject_column, ""),
                split=splits.split_name(split, origin=name) if split else None))
    return cases


def hc18(options: LandmarkOptions) -> LandmarkSet:
    """HC18: fetal heads in ultrasound, axes of the ellipses fitted to the experts' outlines."""
    root = _root(options)
    table = root / "landmarks.csv"
    entries = landmark_table.read(table, path_column="image", coordinates="pixel", ndim=2)
    cases = []
    for image, entry in entries.items():
        # Given in pixels of the full image; those here are twice as large.
        half = {n: [(v + 0.5) / 2 - 0.5 for v in p] for n, p in entry.points.items()}
        row = entry.row
        cases.append(from_file(
            root, root / "images" / image, points=half, system="pixel", subject=row["exam"],
            split=splits.split_name(row["split"], origin=f"{table}, line {entry.line}"),
            spacing_mm=2 * float(row["pixel_size_mm"]),
            metadata={"hc_mm_official": row["hc_mm_official"]}))
    names = ("centre", "ofd_left", "ofd_right", "bpd_top", "bpd_bottom")
    info = DatasetInfo(
        "hc18", landmarks=names, modality="ultrasound, fetal head",
        unordered=(("ofd_left", "ofd_right"), ("bpd_top", "bpd_bottom")),
        lengths=(("bpd", "bpd_top", "bpd_bottom"), ("ofd", "ofd_left", "ofd_right")),
        ellipses=(("hc", "ofd", "bpd"),),
        licence="CC BY 4.0", citation="van den Heuvel et al., Automated measurement of fetal head "
        "circumference using 2D ultrasound images. PLoS ONE 13(8):e0200412, 2018.")
    return LandmarkSet(info, cases, (128, 192), 0.0)


def mouse_skull(options: LandmarkOptions) -> LandmarkSet:
    """Heads of mice in micro-CT, 45 manual points each, in any pose."""
    root = _root(options)
    facts = {row["volume"]: row for row in landmark_table.read_rows(root / "volumes.csv")}
    entries = landmark_table.read(root / "landmarks.csv", coordinates="LPS", ndim=3)
    cases = [from_file(root, root / "volumes" / f"{name}.nii.gz", points=entry.points,
                       system="LPS", subject=name,
                       split=splits.split_name(facts[name]["split"], origin=name))
             for name, entry in entries.items() if name in facts]
    info = DatasetInfo(
        "mouse_skull", landmarks=tuple(cases[0].points), modality="micro-CT, head of a mouse",
        licence="GPL-3.0", citation="Maga et al., A population level atlas of Mus musculus "
        "craniofacial skeleton and automated image-based shape analysis. Journal of Anatomy "
        "231:433-443, 2017.")
    return LandmarkSet(info, cases, (64, 64, 64), 0.42)


def hippocampus(options: LandmarkOptions) -> LandmarkSet:
    """Crops of T1-weighted MR about the hippocampus; five points derived from its masks."""
    root = _root(options)
    entries = landmark_table.read(root / "landmarks.csv", path_column="case", coordinates="voxel",
                                  ndim=3)
    names = ("anterior_part_centroid", "posterior_part_centroid", "anterior_tip", "posterior_tip",
             "junction_centroid")
    cases = [from_file(root, root / "images" / f"{name}.nii.gz", system="voxel", subject=name,
                       points={n: entry.points[n] for n in names},
                       split=splits.split_name(entry.row["split"], origin=name))
             for name, entry in entries.items()]
    info = DatasetInfo(
        "hippocampus", landmarks=names, modality="T1-weighted MR; points derived from masks",
        licence="CC BY-SA 4.0", citation="Antonelli et al., The Medical Segmentation Decathlon. "
        "Nature Communications 13:4128, 2022.")
    return LandmarkSet(info, cases, (48, 64, 48), 1.0)


def afids(options: LandmarkOptions) -> LandmarkSet:
    """Brains with the 32 AFIDs: each volume with a Slicer list of its name beside it, or, as of
    the templates, with a table `NAME_landmarks.csv` beside `NAME_T1w.nii.gz`."""
    root = _root(options)
    cases = _from_lists(root, options)
    for table in sorted(root.glob("*_landmarks.csv")):
        path = table.with_name(table.name.replace("_landmarks.csv", "_T1w.nii.gz"))
        rows = landmark_table.read_rows(table)
        points = {r["name"]: [float(r[f"{a}_ras_mm"]) for a in "xyz"] for r in rows}
        cases.append(from_file(root, path, points=points, system="RAS"))
    known = [c._replace(points={n: p for n, p in c.points.items() if n in AFIDS_RAS_MM})
             for c in cases]
    if not cases or not all(c.points for c in known):
        raise UserError(f"--data_dir={root}: no volumes with lists of AFIDs beside them")
    info = DatasetInfo("afids", landmarks=tuple(AFIDS_RAS_MM), mirrored=MIRRORED,
                       modality="T1-weighted MR", licence="CC BY 4.0 (points)", citation=_AFIDS)
    return LandmarkSet(info, known, (96, 112, 96), 2.0)


def isbi2015(options: LandmarkOptions) -> LandmarkSet:
    """Cephalograms of the ISBI 2015 challenge: 19 points, the mean of two raters, 0.1 mm pixels.

    Layout: images `RawImage/{TrainingData,Test1Data,Test2Data}/NNN.bmp`, points
    `[AnnotationsByMD/]400_{senior,junior}/NNN.txt`, whose first 19 lines are `x,y`. Test1 and
    Test2 together are the test split; the distance of the raters stands in the metadata.
    """
    root = _root(options)
    base = next((p for p in (root / "AnnotationsByMD", root) if (p / "400_senior").is_dir()), None)
    folders = {"TrainingData": "train", "Test1Data": "test", "Test2Data": "test"}
    files = [(p, split) for name, split in folders.items()
             for p in sorted((root / "RawImage" / name).glob("*.bmp"))]
    if base is None or not files:
        raise UserError(f"--data_dir={root}: needs RawImage/TrainingData/*.bmp and 400_senior/ and "
                        "400_junior/, as the challenge has them")
    names = ("sella", "nasion", "orbitale", "porion", "subspinale", "supramentale", "pogonion",
             "menton", "gnathion", "gonion", "lower incisal incision", "upper incisal incision",
             "upper lip", "lower lip", "subnasale", "soft tissue pogonion",
             "posterior nasal spine", "anterior nasal spine", "articulare")
    cases = []
    for path, split in files:
        raters = np.stack([_ceph_points(base / f"400_{who}" / f"{path.stem}.txt", len(names))
                           for who in ("senior", "junior")])
        apart = 0.1 * np.sqrt(((raters[0] - raters[1]) ** 2).sum(-1))
        cases.append(from_file(
            root, path, points=dict(zip(names, raters.mean(0).tolist(), strict=True)),
            system="pixel", subject=path.stem, split=split, spacing_mm=0.1,
            metadata={"rater_error_mm": " ".join(f"{d:.4f}" for d in apart)}))
    info = DatasetInfo(
        "isbi2015", landmarks=names, modality="cephalogram", citation="Wang et al., A benchmark "
        "for comparison of dental radiography analysis algorithms. Medical Image Analysis "
        "31:63-76, 2016.")
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
    root = _root(options)
    table = root / "setup" / "all.csv"
    fold = root / "setup" / f"cv{options.fold}"
    try:
        lines = [line.split(",") for line in table.read_text().splitlines() if line.strip()]
        points = {row[0].strip(): np.array(row[1:75], float).reshape(37, 2) for row in lines}
        split_of = {name: split for split in ("train", "test")
                    for name in (fold / f"{split}.txt").read_text().split()}
    except (OSError, ValueError) as e:
        raise UserError(f"--data_dir={root}: needs setup/all.csv of an ID and 37 x,y a line and "
                        f"setup/cv{options.fold}/train.txt and test.txt ({e})") from None
    names = tuple(f"point {i:02d}" for i in range(37))
    a, b = WRIST[options.wrist]
    cases = []
    for name, split in split_of.items():
        if name not in points:
            raise UserError(f"{table}: has no points of {name}, which cv{options.fold} names")
        path = _find(root / "images", LandmarkOptions(), name, str(fold))
        wide = float(np.linalg.norm(points[name][a] - points[name][b]))
        cases.append(from_file(
            root, path, points=dict(zip(names, points[name].tolist(), strict=True)),
            system="pixel", subject=name, split=split, spacing_mm=50.0 / wide))
    info = DatasetInfo(
        "hand_xray", landmarks=names, modality="X-ray of the left hand",
        citation="Payer et al., Integrating spatial configuration into heatmap regression based "
        "CNNs for landmark localization. Medical Image Analysis 54:207-219, 2019; Gertych et al., "
        "Bone age assessment of children using a digital hand atlas, 2007 (the images).")
    return LandmarkSet(info, cases, (256, 256), 0.0)


def brain_landmarks(options: LandmarkOptions) -> LandmarkSet:
    """The deformed ICBM-152 template with its AFIDs, which move exactly with it.

    Slices through the middle with the ten points that lie there, or whole volumes with all 32.
    """
    names = MIDLINE if options.ndim == 2 else tuple(AFIDS_RAS_MM)
    subjects = [f"subject_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(subjects, [0] * len(subjects), seed=_SEED,
                           shares={"train": 0.6, "validation": 0.15, "test": 0.25})
    cases = []
    for i, (name, split) in enumerate(zip(subjects, chosen, strict=True)):
        subject = brain.make_subject(_SEED, i)
        subject = brain.within_midplane(subject) if options.ndim == 2 else subject
        points = np.array([AFIDS_RAS_MM[n] for n in names])
        points[:, 0] *= options.ndim == 3  # a slice shows x = 0 alone
        moved = subject.from_template(points.T).T
        if options.ndim == 2:
            moved = moved[:, 1:] * [1.0, -1.0]
        render = functools.partial(_render, subject, i, options.ndim)
        cases.append(Case(render, name, name, name, split, dict(zip(names, moved, strict=True)),
                          "RAS" if options.ndim == 3 else "mm"))
    info = DatasetInfo(
        "brain_landmarks", landmarks=names, mirrored=MIRRORED if options.ndim == 3 else (),
        modality="T1-weighted MR, simulated from a template", synthetic=True,
        licence="template: permissive (McGill); points: CC BY 4.0",
        citation=f"{_TEMPLATE} {_AFIDS}")
    slices = options.ndim == 2
    return LandmarkSet(info, cases, (96, 112) if slices else (48, 64, 48), 2.0 if slices else 4.0)


_SEED = 153


def _render(subject: brain.Subject, index: int, ndim: int) -> images.Found:
    """The slice x = 0, its top row the highest and its first column the hindmost, or a volume."""
    rng = np.random.default_rng([_SEED, index, ndim])
    step = 2.0 if ndim == 2 else 4.0
    x, y, z = (np.arange(low, low + n * step, step) for low, n in (
        (-94.0, 48), (-130.0, 64), (-86.0, 48)))
    if ndim == 2:
        y, z = np.arange(-130.0, 94.0, step), np.arange(104.0, -88.0, -step)
        points = np.stack(np.broadcast_arrays(0.0, y[None], z[:, None]))
        affine = np.array([[0.0, step, y[0]], [step, 0.0, -z[0]], [0.0, 0.0, 1.0]])
    else:
        points = np.stack(np.meshgrid(x, y, z, indexing="ij"))
        affine = geometry.scaling(np.full(3, step), np.array([x[0], y[0], z[0]]))
    pixels = np.rint(255 * subject.render(points, rng)).astype(np.uint8)[..., None]
    return images.Found(pixels, (step,) * ndim, affine, "yx" if ndim == 2 else "xyz")


def synthetic_hand(options: LandmarkOptions) -> LandmarkSet:
    """Drawn hands with 37 points and finger tips that look alike."""
    subjects = [f"hand_{i:04d}" for i in range(options.subjects)]
    chosen = splits.assign(subjects, [0] * len(subjects), seed=_SEED,
                           shares={"train": 0.5, "validation": 0.2, "test": 0.3})
    names, cases = hand.names(7), []
    for i, (name, split) in enumerate(zip(subjects, chosen, strict=True)):
        image, points = hand.draw(_SEED, i)
        found = images.Found(image, (1.0, 1.0))
        cases.append(Case(lambda found=found: found, name, name, name, split,
                          dict(zip(names, points, strict=True)), "voxel"))
    info = DatasetInfo("synthetic_hand", landmarks=names, modality="drawn", synthetic=True)
    return LandmarkSet(info, cases, (hand.SIDE, hand.SIDE), 1.0)


SETS: dict[str, Callable[[LandmarkOptions], LandmarkSet]] = {
    "brain_landmarks": brain_landmarks, "landmark_folder": landmark_folder, "hc18": hc18,
    "mouse_skull": mouse_skull, "hippocampus": hippocampus, "afids": afids, "isbi2015": isbi2015,
    "hand_xray": hand_xray, "synthetic_hand": synthetic_hand,
}


def check_names(names: Sequence[str]) -> None:
    """Raises UserError if a landmark has no name or shares it."""
    twice = [n for n, count in Counter(names).items() if count > 1]
    if twice or not all(names):
        raise UserError(f"landmarks need names of their own: {twice or 'one is empty'}")

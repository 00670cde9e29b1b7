"""One tiny run of each experiment on real files, and a bundle of it."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from experiments import (
    classify,
    detect,
    heatmap,
    pretrain,
    register,
    retrieve,
    search,
    segment,
    temporal,
    transfer,
)
from medjax import app, bundle, lock
from medjax.bundle import archive
from medjax.bundle.card import Notes
from medjax.data import patches, source
from tests.conftest import common

SHORT = {
    "steps": 2,
    "batch": 4,
    "eval_every": 1,
    "log_every": 1,
    "bootstrap": 20,
    "warmup_steps": 1,
}
PROGRAMS = {
    "classify": classify,
    "detect": detect,
    "heatmap": heatmap,
    "pretrain": pretrain,
    "register": register,
    "retrieve": retrieve,
    "search": search,
    "segment": segment,
    "temporal": temporal,
    "transfer": transfer,
}


class Shared(NamedTuple):
    """A run that has ended, its images, and its bundle as files."""

    experiment: str
    workdir: Path
    data: Path
    files: dict


# Transfer and pre-training leave what classification and retrieval do, and registration takes two
# images: the contract looks at them.
OF_OTHERS = ("pretrain", "register", "transfer")


@pytest.fixture(scope="session", params=[name for name in PROGRAMS if name not in OF_OTHERS])
def shared(request, tmp_path_factory, cache_dir) -> Shared:
    return made(request.param, tmp_path_factory, cache_dir)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, cache_dir) -> Shared:
    return made("classify", tmp_path_factory, cache_dir)


def made(experiment, tmp_path_factory, cache_dir) -> Shared:
    """Whichever worker needs it first makes it for all."""
    folder = common(tmp_path_factory) / f"shared_{experiment}"
    folder.mkdir(exist_ok=True)
    done = folder / "bundle.zip"
    with lock.hold(folder / "lock", wait=True):
        if not done.exists():
            values = {
                **SHORT,
                **DATA[experiment](folder / "data"),
                "data_dir": folder / "data",
                "workdir": folder / "run",
                "cache_dir": cache_dir,
            }
            program = PROGRAMS[experiment]
            program.main(
                app.parse(
                    program.Config,
                    [experiment, *(f"--{k}={v}" for k, v in values.items())],
                    experiment,
                )
            )
            archive.write_zip(done, bundle.make(folder / "run", notes=Notes("tiny"), export=True))
    return Shared(experiment, folder / "run", folder / "data", archive.read(done))


def load_set(run: Shared, cache_dir):
    """The set that a run was trained on, opened as the run opened it."""
    config = json.loads((run.workdir / "config.json").read_text())
    kind = type(PROGRAMS[run.experiment].Config().data)
    given = {f.name: config[f.name] for f in dataclasses.fields(kind)}
    options = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
    return source.load(config["dataset"], options=options, cache_dir=cache_dir)


def inputs(split, spec):
    """What a network takes of the images of a split: they themselves, or a part of each."""
    shape = spec.image_shape
    if split.image_shape == shape:
        return split
    return dataclasses.replace(
        split,
        read=lambda i: patches.cut(split.read(i), [0] * (len(shape) - 1), shape[:-1]),
        image_shape=shape,
    )


def pictures(root: Path) -> dict:
    """Two classes; two seeds, so that the ensemble is shared."""
    rng = np.random.default_rng(0)
    for label, level in (("bright", 150), ("dark", 40)):
        (root / label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray((level + rng.integers(0, 90, (12, 12))).astype(np.uint8)).save(
                root / label / f"{i:02d}.png"
            )
    return {"dataset": "image_folder", "model": "cnn", "seeds": 2, "tta": 2}


def pictures_alone(root: Path) -> dict:
    """The same pictures, for one seed."""
    return {k: v for k, v in pictures(root).items() if k in ("dataset", "model")}


def pictures_to_find(root: Path) -> dict:
    """The same pictures, as codes of four bits, of two seeds."""
    return {**pictures_alone(root), "seeds": 2, "size": 4, "code": True}


def pictures_and_weights(root: Path) -> dict:
    """The same pictures, and weights of a small network beside them."""
    from medjax import models
    from tests.models.test_pretrained import as_torch

    model = models.classifier("cnn", num_classes=2)
    made = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 12, 12, 1)), train=False)
    )
    tensors = as_torch({k: made[k] for k in ("params", "batch_stats")})
    tensors = {k: np.abs(v) + 1 if "var" in k else 0.1 * v for k, v in tensors.items()}
    given = {**pictures(root), "tta": 1, "arms": "scratch,finetune", "train_sizes": "3"}
    given["learning_rate"] = 1e-6  # so that some answers are wrong, and are shown
    save_file(tensors, root.parent / "weights.safetensors")
    return given | {"init_from": root.parent / "weights.safetensors", "init_scaling": "set"}


def points(root: Path) -> dict:
    """Pictures with two points, known in pixels and mm."""
    rng = np.random.default_rng(1)
    root.mkdir()
    lines = ["image,landmark,x,y,split,spacing_mm"]
    for i in range(8):
        Image.fromarray(rng.integers(0, 255, (30, 40)).astype(np.uint8)).save(root / f"{i}.png")
        split = "train" if i < 4 else "val" if i < 6 else "test"
        lines += [
            f"{i}.png,{name},{x + i / 2},{9 + i},{split},0.5" for name, x in (("a", 8), ("b", 20))
        ]
    (root / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "landmark_folder",
        "image_shape": "24,32",
        "grid_mm": 0.6,
        "width": 4,
        "levels": 2,
    }


def volumes(root: Path) -> dict:
    """Volumes of an odd orientation with two points."""
    rng = np.random.default_rng(2)
    root.mkdir()
    lines = ["volume,landmark,x_ras_mm,y_ras_mm,z_ras_mm,split"]
    affine = np.array([[0, -2.0, 0, 30], [2.0, 0, 0, -8], [0, 0, 2.0, -5], [0, 0, 0, 1]])
    for i in range(6):
        nibabel.save(
            nibabel.Nifti1Image(rng.normal(size=(20, 18, 16)).astype(np.float32), affine),
            root / f"{i}.nii.gz",
        )
        split = "train" if i < 3 else "val" if i < 4 else "test"
        lines += [f"{i}.nii.gz,{name},{10 + i},{9},{z},{split}" for name, z in (("a", 8), ("b", 4))]
    (root / "landmarks.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "landmark_folder",
        "landmarks": "a,b",
        "image_shape": "20,20,16",
        "grid_mm": 2,
        "crop_size": 9,
        "agents": 4,
        "starts": 5,
        "validation_starts": 2,
        "fill": 8,
        "replay": 16,
        "search_limit": 30,
        "hidden": 8,
        "width": 8,
    }


def cines(root: Path) -> dict:
    """Folders of frames of several lengths."""
    rng = np.random.default_rng(3)
    root.mkdir()
    lines = ["case,name,index,split,frame_ms"]
    for i in range(8):
        (root / f"c{i}").mkdir()
        for t in range(4 + i):
            Image.fromarray(rng.integers(0, 255, (16, 16)).astype(np.uint8)).save(
                root / f"c{i}" / f"{t:02d}.png"
            )
        split = "train" if i < 4 else "val" if i < 6 else "test"
        lines += [f"c{i},{name},{t},{split},40" for name, t in (("ED", 0), ("ES", 2))]
    (root / "frames.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "sequence_folder",
        "rival": False,
        "features": 4,
        "hidden": 4,
        "recurrence": "bilstm",
    }


def masked(root: Path) -> dict:
    """Volumes of several sizes and of an odd orientation, each with a mask of two boxes."""
    rng = np.random.default_rng(4)
    lines = ["image,split"]
    affine = np.array([[0, -2.0, 0, 30], [2.0, 0, 0, -8], [0, 0, 2.0, -5], [0, 0, 0, 1]])
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for i in range(6):
        mask = np.zeros((14 + i, 12, 9), np.uint8)
        mask[3:8, 2:9, 2:6], mask[9:12, 4:9, 3:8] = 1, 2
        image = (40.0 * mask + rng.normal(0, 5, mask.shape)).astype(np.float32)
        for name, array in (("images", image), ("labels", mask)):
            nibabel.save(nibabel.Nifti1Image(array, affine), root / name / f"{i}.nii.gz")
        split = "train" if i < 3 else "val" if i < 4 else "test"
        lines.append(f"images/{i}.nii.gz,{split}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "mask_folder",
        "structures": "left,right",
        "patch": "12,16,8",
        "width": 4,
        "levels": 2,
        "batch": 2,
    }


def boxed(root: Path) -> dict:
    """Pictures with a bright rectangle each, some with two."""
    rng = np.random.default_rng(5)
    root.mkdir()
    lines = ["image,label,xmin,ymin,xmax,ymax,split"]
    for i in range(8):
        pixels = rng.integers(0, 60, (32, 40))
        split = "train" if i < 4 else "val" if i < 6 else "test"
        for label, x, y in [("a", 4 + i, 5), ("b", 20, 10 + i)][: 1 + i % 2]:
            pixels[y : y + 9, x : x + 12] += 150
            lines.append(f"{i}.png,{label},{x},{y},{x + 12},{y + 9},{split}")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "box_folder",
        "image_shape": "32,40",
        "width": 4,
        "levels": 3,
        "stride": 2,
        "most_boxes": 5,
        "score": 0.001,
    }


def aligned(root: Path) -> dict:
    """Pictures of a disc that is elsewhere in each, with masks; all are registered to the first."""
    lines = ["path,split"]
    for i in range(8):
        away = np.hypot(*(np.indices((20, 17)) - np.array([8.0 + i % 3, 8.0]).reshape(2, 1, 1)))
        split = "train" if i < 4 else "val" if i < 6 else "test"
        for folder, pixels in (("images", 200 * (away < 5) + 3 * i), ("labels", away < 5)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{i}.png")
        lines.append(f"images/{i}.png,{split}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": "image_pairs",
        "width": 4,
        "levels": 3,
        "batch": 2,
        "seeds": 2,
        "transform": "displacement",
        "dice_weight": 1.0,
    }


DATA = {
    "classify": pictures,
    "detect": boxed,
    "heatmap": points,
    "pretrain": pictures_alone,
    "register": aligned,
    "retrieve": pictures_to_find,
    "search": volumes,
    "segment": masked,
    "temporal": cines,
    "transfer": pictures_and_weights,
}


def rewritten(files: dict, **changes) -> dict:
    """A bundle whose `bundle.json` says something else, with a manifest that agrees."""
    about = json.loads(files[bundle.ABOUT])
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = about
        for name in parents:
            place = place[name]
        place[last] = value
    content = {k: v for k, v in files.items() if k not in ("manifest.json", "manifest.sig")}
    return bundle.sealed({**content, bundle.ABOUT: json.dumps(about).encode()})

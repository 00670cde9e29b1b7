# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Landmarks, 3D Slicer and back
#
# You have volumes as NIfTI files and have placed points in 3D Slicer, saved as `.mrk.json`. A
# network learns them and writes its points for new volumes as `.mrk.json`, which 3D Slicer opens.
#
# The volumes here are the ICBM-152 template, deformed at random. The network is small and trained
# for one or two minutes: this shows the way, not the accuracy.

# %%
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

import medjax

source = medjax.open_dataset("brain_landmarks", ndim=3, subjects=30)
folder = Path(tempfile.mkdtemp())
names = ("AC", "PC", "culmen", "genu of CC")
columns = [source.info.landmarks.index(name) for name in names]


def write_markups(path, points_lps_mm):
    """What 3D Slicer saves: one list of control points, in millimetres, LPS."""
    points = [
        {"label": name, "position": list(map(float, p)), "positionStatus": "defined"}
        for name, p in points_lps_mm.items()
    ]
    markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points}]
    path.write_text(json.dumps({"markups": markups}))


for split in source.splits.values():
    for i, case in enumerate(split.case_id):
        volume = nib.Nifti1Image(split.read(i)[..., 0], split["to_world"][i])
        nib.save(volume, folder / f"{case}.nii.gz")
        ras_mm = split["true_mm"][i][columns]
        lps_mm = ras_mm * [-1, -1, 1]
        write_markups(folder / f"{case}.mrk.json", dict(zip(names, lps_mm, strict=True)))

sorted(p.name for p in folder.iterdir())[:4]

# %% [markdown]
# ## Train
#
# The folder is enough: the markups lie beside the volumes, under the same name. `grid_mm` is the
# size of a voxel that the network sees; smaller is more exact and slower.

# %%
result = medjax.heatmap(
    folder,
    image_shape=(24, 32, 24),
    grid_mm=8.0,
    width=8,
    steps=150,
    workdir=str(folder.parent / f"{folder.name}_run"),
)
result

# %% [markdown]
# Errors are in millimetres of the files. Beside them stands the trivial guess: each landmark at
# its mean position in the training volumes.

# %%
result.figure("error_per_landmark")

# %% [markdown]
# ## Back to 3D Slicer
#
# `landmarks/` in the work directory holds one `.mrk.json` a test volume. Open the volume in 3D
# Slicer, then the file: the points lie where the network found them.

# %%
written = sorted((result.workdir / "landmarks").glob("*.mrk.json"))
first = json.loads(written[0].read_text())["markups"][0]
print(written[0].name, first["coordinateSystem"])
for point in first["controlPoints"]:
    print(f"{point['label']:<12}", np.round(point["position"], 1))

# %% [markdown]
# New volumes need no points. In a terminal `medjax predict points.zip NEW_VOLUMES
# --output=answers` writes the same files; here for one volume, with its affine:

# %%
path = result.share(folder.parent / f"{folder.name}.zip")
volume = nib.load(next(folder.glob("*.nii.gz")))
answer = medjax.load(path).predict(np.asarray(volume.dataobj), affine=volume.affine)
dict(zip(answer.names, np.round(answer.points_mm, 1).tolist(), strict=True))

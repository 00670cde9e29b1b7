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
# # Two volumes registered
#
# Two scans of two people, as NIfTI files of different orientation: where is a place of the one in
# the other? Here the scans are the ICBM-152 template, deformed at random twice, so that the true
# places of 32 anatomical landmarks are known in both. No network is trained.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np

import medjax

source = medjax.open_dataset("brain_landmarks", ndim=3, subjects=30).splits["test"]
folder = Path(tempfile.mkdtemp())


def write_scan(name, i, orientation):
    """A volume of the set, as a scanner that stores its axes in another order writes it."""
    scan = nib.Nifti1Image(source.read(i)[..., 0], source["to_world"][i])
    nib.save(nib.as_closest_canonical(scan).as_reoriented(orientation), folder / name)
    return folder / name


fixed = write_scan("fixed.nii.gz", 0, np.array([[0, 1], [1, 1], [2, 1]]))
moving = write_scan("moving.nii.gz", 1, np.array([[2, 1], [0, -1], [1, 1]]))  # turned axes
fixed_points_mm, moving_points_mm = source["true_mm"][0], source["true_mm"][1]

# %% [markdown]
# ## Register
#
# First an affine, then a field that is integrated from a velocity, both by gradients, from coarse
# to fine. The first pair of a shape compiles the program.

# %%
transform = medjax.register(fixed, moving)

before_mm = np.linalg.norm(moving_points_mm - fixed_points_mm, axis=-1)
found_mm = transform.move_points(fixed_points_mm)
after_mm = np.linalg.norm(moving_points_mm - found_mm, axis=-1)
print(f"error of the landmarks: {before_mm.mean():.2f} mm before, {after_mm.mean():.2f} mm after")
print(f"share of voxels that fold: {(transform.jacobian_determinant() <= 0).mean():.4%}")

# %% [markdown]
# ## See it
#
# The moving scan on the grid of the fixed one, and how much each place grows on its way there.

# %%
target, other = nib.load(fixed), nib.load(moving)
warped = transform.warp_image(np.asarray(other.dataobj, float), other.affine)
growth = np.log2(np.maximum(transform.jacobian_determinant(), 1e-3))
middle = target.shape[2] // 2
figure, axes = plt.subplots(1, 3, figsize=(9, 4), layout="constrained")
axes[0].imshow(np.asarray(target.dataobj)[:, :, middle].T, cmap="gray", origin="lower")
axes[0].set_title("fixed")
axes[1].imshow(warped[:, :, middle].T, cmap="gray", origin="lower")
axes[1].set_title("moving, warped")
size = growth.shape[2] // 2
shown = axes[2].imshow(growth[:, :, size].T, cmap="RdBu_r", origin="lower", vmin=-1.5, vmax=1.5)
axes[2].set_title("growth")
figure.colorbar(shown, ax=axes[2], label="log2 of the Jacobian determinant", shrink=0.8)
for axis in axes:
    axis.axis("off")

# %% [markdown]
# ## Other tools
#
# The field is written as ITK has it, in millimetres: ANTs, SimpleITK and 3D Slicer read it.

# %%
transform.write(folder / "field.nii.gz")
nib.load(folder / "field.nii.gz").shape

# %% [markdown]
# Back again, and through both: where a place ends that goes to the moving scan and returns.

# %%
there_and_back = transform.move_points_back(found_mm)
print(f"largest distance: {np.abs(there_and_back - fixed_points_mm).max():.4f} mm")

# %% [markdown]
# Many pairs, with a report and figures: `medjax register MY_SCANS --method=optimise`; a network
# that answers at once: `medjax register MY_SCANS` ([page](../register.md)).

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
# # Own images to a shared classifier
#
# A folder of images becomes a trained, evaluated and shared network. About a minute on two CPU
# cores.
#
# The images here are slices of the ICBM-152 brain template, deformed at random, so that the
# notebook needs nothing from you. Put your own folder in their place.

# %%
import csv
import tempfile
from pathlib import Path

from PIL import Image

import medjax

folder = Path(tempfile.mkdtemp())
source = medjax.open_dataset("brain_planes", subjects=60)
levels = source.info.classes
shown = ("cerebellum", "thalamus", "centrum semiovale")

with (folder / "metadata.csv").open("w", newline="") as f:
    table = csv.writer(f)
    table.writerow(["file", "diagnosis", "patient"])
    for split in source.splits.values():
        for i, case in enumerate(split.case_id):
            if levels[split["label"][i]] in shown:
                Image.fromarray(split.read(i)[..., 0]).save(folder / f"{case}.png")
                table.writerow([f"{case}.png", levels[split["label"][i]], split.subject_id[i]])

sorted(p.name for p in folder.iterdir())[:4]

# %% [markdown]
# ## Train
#
# One call. What is not given is chosen from the images and the machine, and said with its reason.
# The column `patient` is found by its name, and all images of a patient are in one split.

# %%
result = medjax.classify(folder, workdir=str(folder.parent / f"{folder.name}_run"), steps=300)

# %% [markdown]
# ## Look
#
# Intervals are over patients of the test split, whom the network has not seen.

# %%
result

# %%
result.figure("confusion")

# %% [markdown]
# `result.page` is a file to open in a browser or to mail: the same numbers, the figures, and the
# worst cases as pictures.

# %%
print(result.page.name, f"{result.page.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Share
#
# A bundle is one file with weights, settings, names and numbers. Reading it runs no code, and a
# single flipped bit is found.

# %%
path = result.share(folder.parent / f"{folder.name}.zip", licence="CC0-1.0", authors="You")
model = medjax.load(path)
model

# %% [markdown]
# ## Use
#
# Whoever has the file asks it about new images, here or by `medjax predict`.

# %%
image = source.splits["test"].read(0)
answer = model.predict(image)
for name, probability in answer.probability.items():
    print(f"{name:<20} {probability:.3f}")

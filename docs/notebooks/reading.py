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
# # Reading a report
#
# What an interval says, when two networks differ, and whether a probability means what it says.
# On a small synthetic set: levels of the deformed ICBM-152 template.

# %%
import tempfile
from pathlib import Path

import medjax

workdir = Path(tempfile.mkdtemp())
common = {"subjects": 100, "steps": 300}
cnn = medjax.classify("brain_planes", model="cnn", workdir=str(workdir / "cnn"), **common)
mlp = medjax.classify("brain_planes", model="mlp", workdir=str(workdir / "mlp"), **common)

# %% [markdown]
# ## An interval
#
# The test split has ten images of each subject. They resemble one another, so they do not count
# as ten independent cases: the interval is over subjects.

# %%
cnn

# %%
accuracy = cnn.metrics["accuracy"]
print(f"{accuracy.value:.3f}, 95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}")
print("images:", len(cnn.predictions.case_id))
print("subjects:", len(set(cnn.predictions.subject_id)))

# %% [markdown]
# ## Two networks
#
# Two intervals that overlap do not say that two networks are equal: both have seen the same
# cases. A paired comparison asks how they differ case by case.

# %%
compared = medjax.compare(cnn, mlp, html=str(workdir / "compared.html"))

# %%
difference = compared["accuracy"]["difference"]
print(f"accuracy of mlp - cnn: {difference['value']:+.3f}", end=" ")
print(f"[{difference['low']:+.3f}, {difference['high']:+.3f}]")

# %% [markdown]
# The p-value is that of exchanging the two networks' answers, subject by subject; `p (Holm)` is
# corrected for how many metrics were tested.
#
# ## Calibration
#
# Of the cases that a network gives 80 % to, 80 % should be right. The figure shows it in bins;
# `ece` is the mean gap.

# %%
cnn.figure("reliability")

# %% [markdown]
# ## Where it fails
#
# The wrong answers with the highest confidence. They are the first thing to look at: a wrong
# label, an artefact, or a case that the network has never seen.

# %%
cnn.figure("mistakes")

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
# # Own network and own loss
#
# Arrays in memory, a Flax module and a function are enough. Everything else is as with a network
# of medjax: seeds, intervals, report, bundle.

# %%
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import medjax

rng = np.random.default_rng(0)
count = 400
patients = np.arange(count) // 2  # two images of each
labels = (patients % 3).astype(int)
rows, columns = np.mgrid[:32, :32]
images = rng.normal(0, 0.4, (count, 32, 32))
for image, label in zip(images, labels, strict=True):
    across, down = rng.uniform(10, 22, 2)
    radius = np.hypot(rows - down, columns - across)
    image[...] += [radius < 6, np.abs(radius - 6) < 1.5, np.abs(rows - down) < 2][label]

data = medjax.Dataset.from_arrays(
    images, labels, subjects=patients, classes=["disc", "ring", "bar"], name="shapes"
)
{name: len(split) for name, split in data.splits.items()}

# %% [markdown]
# ## A network
#
# Any `flax.linen` module with `__call__(x, train)`: it takes `[batch, height, width, channel]`
# and gives logits `[batch, class]`.


# %%
class StridedNet(nn.Module):
    """Three convolutions, each on half the size."""

    classes: int = 3

    @nn.compact
    def __call__(self, x, train):
        for features in (8, 16, 32):
            x = nn.relu(nn.Conv(features, (3, 3), strides=2)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x.max((1, 2)))
        return nn.Dense(self.classes)(x)


# %% [markdown]
# ## A loss
#
# Of one example: logits and target, both `[class]`. Here one that bad labels move less than
# cross-entropy (generalised cross-entropy, Zhang and Sabuncu 2018).


# %%
def generalised_cross_entropy(logits, target):
    probability = jnp.sum(target * nn.softmax(logits))
    return (1 - probability**0.7) / 0.7


# %%
workdir = Path(tempfile.mkdtemp())
result = medjax.classify(
    data,
    network=StridedNet(),
    loss=generalised_cross_entropy,
    steps=300,
    workdir=str(workdir / "run"),
)
result

# %% [markdown]
# ## A bundle of it
#
# It holds the weights and says that the network is yours. Who has the module gives it:

# %%
path = result.share(workdir / "mine.zip")
model = medjax.load(path, network=StridedNet())
model.predict(images[0])

# %% [markdown]
# Without it, or with one of another shape, one line says what is missing:

# %%
for network in (None, StridedNet(classes=5)):
    try:
        medjax.load(path, network=network)
    except medjax.UserError as e:
        print(e, "\n")

# %% [markdown]
# ## What does not fit is said before anything is trained

# %%
for call in (
    lambda: medjax.classify(data, network=StridedNet(classes=4)),
    lambda: medjax.classify(data, stpes=100),
    lambda: medjax.Dataset.from_arrays(images, labels[:-1]),
):
    try:
        call()
    except medjax.UserError as e:
        print(e, "\n")

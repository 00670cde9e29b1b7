"""SonoNet on single frames: preprocessing as its authors have it, class, saliency and box."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.data import images
from medjax.evaluation.plot import flat, new_figure
from medjax.models import sononet as network
from medjax.ops.guided import guided_relu
from medjax.typing import Array


class Seen(NamedTuple):
    """What a frame shows.

    Attributes:
      plane: the most probable class; `confidence` its probability.
      probability: `[class]`, in the order of `models.sononet.PLANES`.
      saliency: `[height, width]` of the network's input, from 0 to 1.
      box: left, top, right, bottom in pixels of the frame; None for background.
    """

    plane: str
    confidence: float
    probability: np.ndarray
    saliency: np.ndarray
    box: tuple[float, float, float, float] | None


def load(weights: Path) -> Callable[[np.ndarray, float], Seen]:
    """`(frame [height, width, channel], threshold) -> Seen`, by the authors' weights.

    Raises:
      UserError: if the file is none of theirs.
    """
    arrays = network.read(weights)
    model = network.SonoNet(width=network.width_of(arrays), relu=guided_relu)
    blank = jnp.zeros((1, *network.SIZE, 1))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), blank, train=False))
    variables = network.from_lasagne(shapes, arrays)

    @jax.jit
    def run(image: Array) -> tuple[Array, Array]:
        def maps(image: Array) -> Array:
            return model.apply(variables, image[None, ..., None], train=False, maps=True)[0]

        feature_maps, back = jax.vjp(maps, image)
        probability = jax.nn.softmax(feature_maps.mean((0, 1)))
        best = jax.nn.one_hot(probability.argmax(), feature_maps.shape[-1])
        (saliency,) = back(jnp.maximum(feature_maps, 0.0) * best)
        return probability, jnp.abs(saliency)

    def see(frame: np.ndarray, threshold: float) -> Seen:
        probability, saliency = (np.asarray(x) for x in run(jnp.asarray(prepare(frame))))
        plane = network.PLANES[int(probability.argmax())]
        smooth, box = locate(saliency, threshold=threshold)
        factor = np.array(frame.shape[1::-1]) / np.array(network.SIZE[::-1])
        scaled = tuple(float(v) for v in np.array(box) * np.tile(factor, 2))
        return Seen(
            plane,
            float(probability.max()),
            probability,
            smooth,
            None if plane == "Background" else scaled,  # type: ignore[arg-type]
        )

    return see


def prepare(frame: np.ndarray) -> np.ndarray:
    """What the network is given: gray, 224 x 288, mean 0 and standard deviation 255.

    Frames of other than 8 bits are brought to them, by their own range: the mean and the standard
    deviation take any scale out again.
    """
    from PIL import Image

    colour = np.broadcast_to(_eight_bits(frame[..., :3]), (*frame.shape[:2], 3))
    small = Image.fromarray(colour).resize(network.SIZE[::-1], Image.Resampling.BICUBIC)
    gray = np.asarray(small).astype(np.float32).mean(-1)
    return 255 * (gray - gray.mean()) / max(float(gray.std()), 1e-6)


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    """Values from 0 to 255, as they are where they have 8 bits; else the darkest becomes 0."""
    if frame.dtype == np.uint8:
        return frame
    return images.eight_bits(frame, (float(frame.min()), float(frame.max())))


def locate(saliency: np.ndarray, *, threshold: float) -> tuple[np.ndarray, tuple[float, ...]]:
    """The blurred saliency, its peak 1, and the box about what lies above the threshold.

    Components smaller than a fifth of the largest are left out.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(saliency, 6.0)
    smooth = smooth / max(float(smooth.max()), 1e-12)
    labels, count = ndimage.label(smooth > threshold)
    size = np.bincount(labels.ravel(), minlength=count + 1)
    kept = np.isin(labels, 1 + np.flatnonzero(size[1:] >= 0.2 * size[1:].max(initial=0)))
    rows, columns = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    if not len(rows):
        return smooth, (0.0, 0.0, *map(float, saliency.shape[::-1]))
    return smooth, (float(columns[0]), float(rows[0]), columns[-1] + 1.0, rows[-1] + 1.0)


def draw(path: Path, answers: Sequence[tuple[str, np.ndarray, Seen]], *, most: int = 12) -> None:
    """Frames with class, saliency and box."""
    shown = list(answers)[:most]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)

    def panels(figure, axes):
        for ax in axes.flat:
            ax.axis("off")
        for ax, (name, frame, answer) in zip(axes.flat, shown, strict=False):
            height, width = frame.shape[:2]
            image = flat(frame)
            ax.imshow(image, cmap="gray" if image.ndim == 2 else None)
            ax.imshow(
                answer.saliency,
                cmap="inferno",
                alpha=0.6 * answer.saliency,
                extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            )
            if answer.box is not None:
                left, top, right, bottom = answer.box
                ax.plot(
                    [left, right, right, left, left],
                    [top, top, bottom, bottom, top],
                    color="C2",
                    lw=1.5,
                )
            ax.set_title(f"{name}\n{answer.plane} {answer.confidence:.2f}", fontsize=8)

    new_figure(path, rows, columns, (2.9 * columns, 2.6 * rows), panels)

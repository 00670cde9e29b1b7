"""The pictures that a researcher looks at. Each function draws one figure and writes one PNG."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.typing import JsonView

_STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names may have a $
}


Draw = Callable[[Any, Any], None]  # of a figure and its axes, `[row, column]`
_FORMATS: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("formats", default=())


@contextlib.contextmanager
def formats(*names: str) -> Iterator[None]:
    """While it lasts, figures are written as these too, as pdf and svg, beside png."""
    token = _FORMATS.set(names)
    try:
        yield
    finally:
        _FORMATS.reset(token)


@contextlib.contextmanager
def _axes(rows: int, columns: int, size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    """A figure of its own: what a notebook draws with is left as it is."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False)


def new_figure(path: Path, rows: int, columns: int, size: tuple[float, float], draw: Draw) -> None:
    """Makes the axes, lets `draw(figure, axes)` fill them, and writes the file."""
    with _axes(rows, columns, size) as (figure, axes):
        draw(figure, axes)
        for suffix in dict.fromkeys((path.suffix, *(f".{name}" for name in _FORMATS.get()))):
            figure.savefig(path.with_name(path.name.removesuffix(path.suffix) + suffix))


def short(name: str, *, most: int = 48) -> str:
    """A name that fits above a figure: what no font has is replaced, the middle left out."""
    plain = "".join(c if c.isprintable() and ord(c) < 0x3000 else "?" for c in name)
    half = most // 2
    return plain if len(plain) <= most else f"{plain[: half - 2]}...{plain[1 - half :]}"


def plain_numbers(axis: Any) -> None:
    """Numbers of a logarithmic axis as 0.1, 1 and 10."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def named_numbers(axis: Any, names: Mapping[float, str]) -> None:
    """Ticks of a logarithmic axis at these numbers alone, by their names."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(list(names)))
    axis.set_major_formatter(FixedFormatter(list(names.values())))
    axis.set_minor_locator(NullLocator())


def animate(
    path: Path,
    rows: int,
    columns: int,
    size: tuple[float, float],
    draw: Callable[[Any, Any, int], None],
    *,
    frames: int,
    frames_per_second: int = 6,
) -> None:
    """Writes a GIF whose frame number t is what `draw(figure, axes, t)` leaves; the last stays."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    order = [*range(frames), *[frames - 1] * (2 * frames_per_second)]
    with _axes(rows, columns, size) as (figure, axes):
        moving = FuncAnimation(figure, lambda t: draw(figure, axes, t), frames=order)
        moving.save(path, PillowWriter(fps=frames_per_second), dpi=90)


def learning_curve(
    path: Path,
    lines: Sequence[JsonView],
    *,
    score: str,
    unit: str = "cross-entropy (nats)",
) -> None:
    """Loss of training and validation, and the score on validation, over steps."""

    def series(key: str) -> tuple[list[float], list[float]]:
        rows = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
        return [r[0] for r in rows], [r[1] for r in rows]

    def draw(figure: Any, axes: Any) -> None:
        left, right = axes[0]
        left.plot(*series("loss"), label="training (augmented)", color="C0")
        if series("validation_loss")[0]:
            left.plot(*series("validation_loss"), "o-", ms=3, label="validation", color="C1")
            left.legend()
        left.set(xlabel="step", ylabel=unit, title="Loss")
        if min(series("loss")[1] + series("validation_loss")[1], default=0) >= 0:
            left.set_ylim(bottom=0)
        right.plot(*series(f"validation_{score}"), "o-", ms=3, color="C1")
        right.set(xlabel="step", ylabel=_title(score), title="Validation")
        values = series(f"validation_{score}")[1]
        if values and min(values) == max(values) == 1:  # else the axis goes on beyond what can be
            right.set_ylim(0, 1.05)

    new_figure(path, 1, 2, (7.2, 2.9), draw)


def _title(name: str) -> str:
    short = {
        "auc": "AUC",
        "ece": "ECE",
        "f1": "F1",
        "brier": "Brier score",
        "error_mm": "error (mm)",
        "afd": "frame difference",
        "afd_cyclic": "frame difference round the cycle",
    }
    return short.get(name, name.replace("_", " "))


def pick_colours(count: int) -> list[Any]:
    import matplotlib

    return (
        [f"C{i}" for i in range(count)]
        if count <= 3
        else list(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))
    )


def flat(image: np.ndarray) -> np.ndarray:
    """Something that can be shown: `[h, w]` or `[h, w, 3]` in [0, 1]."""
    if image.ndim == 4:
        image = image[:, :, image.shape[2] // 2]
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = float(image.min()), float(image.max())
    return (image.astype(float) - low) / max(high - low, 1e-9)


def save_image(path: Path, image: np.ndarray, *, side: int = 256) -> None:
    """Writes an image `[*space, channel]` as it is, of a volume its middle slice, enlarged by whole
    pixels to about `side`."""
    enlarge(image, side=side).save(path)


def enlarge(image: np.ndarray, *, side: int) -> Any:
    """The picture (of Pillow) that `save_image` writes."""
    from PIL import Image

    pixels = (flat(image) * 255).round().astype(np.uint8)
    times = max(side // max(pixels.shape[:2]), 1)
    height, width = (times * n for n in pixels.shape[:2])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)


def image_with_bars(
    path: Path, image: np.ndarray, share: Mapping[str, float], *, title: str, marked: str = ""
) -> None:
    """An image `[*space, channel]`, and a bar for each probability, the first on top.

    Args:
      marked: the bar that stands out; empty: those of one half and more do.
    """

    def fill(figure: Any, axes: Any) -> None:
        left, right = axes[0]
        picture = flat(image)
        left.imshow(picture, cmap="gray" if picture.ndim == 2 else None)
        left.set_title(short(title), fontsize=8, loc="left")
        left.axis("off")
        names = list(share)[::-1]
        stands_out = [name == marked if marked else share[name] >= 0.5 for name in names]
        right.barh(
            [short(name, most=24) for name in names],
            [share[name] for name in names],
            color=["C0" if out else "0.7" for out in stands_out],
        )
        right.set(xlim=(0, 1), xlabel="probability")
        right.grid(axis="y", visible=False)

    new_figure(path, 1, 2, (5.6, max(2.4, 0.7 + 0.17 * len(share))), fill)

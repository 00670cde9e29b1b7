"""Figures of embeddings and of what queries find."""

from pathlib import Path
from typing import Any

import numpy as np

from medjax.evaluation import plot
from medjax.outputs.base import WORST_CASES, Evaluation, Picture
from medjax.outputs.embeddings.metrics import MEASURES, RECALLS, K
from medjax.outputs.embeddings.predictions import RetrievalPredictions
from medjax.outputs.embeddings.ranking import list_prefixes

_MOST_POINTS = 1000  # of the map
_FEWEST_POINTS = 5


def draw_map(path: Path, evaluation: Evaluation[RetrievalPredictions]) -> None:
    """The embeddings of the queries in two dimensions, coloured by class."""
    ranked, names = evaluation.ensemble, evaluation.spec.info.classes
    rows = np.random.default_rng(0).permutation(len(ranked.label))[:_MOST_POINTS]
    place = _place(ranked.embedding[rows])

    def fill(figure: Any, axes: Any) -> None:
        ax = axes[0][0]
        for name, colour in zip(names, plot.pick_colours(len(names)), strict=True):
            mine = place[ranked.label[rows] == name]
            ax.scatter(*mine.T, s=9, color=colour, alpha=0.7, lw=0, label=plot.short(name, most=24))
        ax.set(xticks=[], yticks=[], title=f"{len(rows)} queries, t-SNE")
        figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", markerscale=2)

    plot.new_figure(path, 1, 1, (5.6, 3.8), fill)


def _place(embedding: np.ndarray) -> np.ndarray:
    """`[n, feature]` to `[n, 2]` (t-SNE: van der Maaten and Hinton 2008)."""
    from sklearn.manifold import TSNE  # here, as it takes a second to load

    if len(embedding) < _FEWEST_POINTS or embedding.shape[1] < 2:
        return np.pad(embedding[:, :2], [(0, 0), (0, max(2 - embedding.shape[1], 0))])
    perplexity = min(30.0, (len(embedding) - 1) / 3)
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    return TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(unit)


def draw_ranks(path: Path, evaluation: Evaluation[RetrievalPredictions]) -> None:
    """Precision against recall, and how many of the cases at each rank are of the class."""
    ranked, chance = evaluation.ensemble, evaluation.baseline

    def fill(figure: Any, axes: Any) -> None:
        left, right = axes[0]
        for answers, colour, name in ((ranked, "C0", "found"), (chance, "0.6", "random order")):
            hit = answers.neighbour_label == answers.label[:, None]
            known = answers.neighbour_row >= 0
            share = hit.sum(0) / np.maximum(known.sum(0), 1)
            left.plot(range(1, K + 1), share, marker="o", ms=4, color=colour, label=name)
            right.plot(RECALLS, _mean_defined(answers.curve), color=colour, label=name)
        left.set(xlabel="rank", ylabel="share of the class of the query", ylim=(0, 1.02))
        left.set_xticks(range(1, K + 1))
        right.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        right.legend()

    plot.new_figure(path, 1, 2, (6.6, 3.0), fill)


def draw_bits(path: Path, evaluation: Evaluation[RetrievalPredictions]) -> None:
    """How well the first bits of codes find cases, against how many are compared."""
    answers, chance = evaluation.ensemble, evaluation.baseline
    bits = list_prefixes(answers.embedding.shape[1])
    value = np.nanmean(answers.by_bits, 0)
    base = np.nanmean(chance.scores[:, MEASURES.index("ap_at_5")])

    def fill(figure: Any, axes: Any) -> None:
        ax = axes[0][0]
        ax.plot(bits, value, marker="o", ms=4)
        ax.axhline(base, color="0.6", lw=1, label="random order")
        ax.set(xscale="log", xlabel="bits", ylabel="ap_at_5", ylim=(0, 1.02))
        ax.set_xticks(bits, [str(b) for b in bits], minor=False)
        ax.minorticks_off()
        ax.legend(loc="lower right")

    plot.new_figure(path, 1, 1, (3.6, 3.0), fill)


def _mean_defined(curve: np.ndarray) -> np.ndarray:
    known = curve[~np.isnan(curve).any(1)]
    return known.mean(0) if len(known) else np.full(curve.shape[1], np.nan)


def draw_worst(folder: Path, evaluation: Evaluation[RetrievalPredictions]) -> list[Picture]:
    """The queries that found least, each with its nearest cases."""
    ranked, pictures = evaluation.ensemble, []
    score = ranked.scores[:, MEASURES.index("ap_at_5")]
    order = [int(i) for i in np.argsort(score, kind="stable")]
    for number, i in enumerate(order[:WORST_CASES], start=1):
        name = f"worst_{number}.png"
        draw_row(folder / name, evaluation, i)
        hits = int((ranked.neighbour_label[i] == ranked.label[i]).sum())
        text = f"{ranked.label[i]}: {hits} of {K} nearest are of this class"
        if not evaluation.spec.info.has_labels:
            text = "A query and its nearest images."
        pictures.append(Picture(name, text, True, ranked.case_id[i], i + 2, wide=True))
    return pictures


def draw_row(path: Path, evaluation: Evaluation[RetrievalPredictions], query: int) -> None:
    """A query and its nearest cases, the wrong ones with their class in red."""
    ranked, gallery = evaluation.ensemble, evaluation.train
    near = [int(i) for i in ranked.neighbour_row[query] if i >= 0]

    images = [evaluation.split.read(query), *(gallery.read(i) for i in near)]
    names = [ranked.label[query], *ranked.neighbour_label[query][: len(near)]]
    pictures = [plot.flat(image) for image in images]
    height, width = pictures[0].shape[:2]
    gap = max(width // 16, 1)
    filled = [
        np.pad(p, [(0, 0), (0, gap), *[(0, 0)] * (p.ndim - 2)], constant_values=1.0)
        for p in pictures
    ]

    def fill(figure: Any, axes: Any) -> None:
        ax = axes[0][0]
        ax.imshow(np.concatenate(filled, 1)[:, :-gap], cmap="gray")
        ax.axis("off")
        for number, name in enumerate(names):
            text = plot.short(str(name), most=16)
            ax.text(
                number * (width + gap) + width / 2,
                -0.04 * height,
                text if number else f"query: {text}",
                color="black" if name == names[0] else "C3",
                weight="normal" if number else "bold",
                ha="center",
                fontsize=7,
            )

    plot.new_figure(path, 1, 1, (8.4, 0.5 + 1.4 * height / width), fill)

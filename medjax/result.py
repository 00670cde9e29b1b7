"""A run that has ended, in a script or notebook."""

import dataclasses
import functools
import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from medjax import bundle, page
from medjax.bundle import Bundle, archive, card
from medjax.errors import UserError, unknown
from medjax.evaluation import report
from medjax.evaluation.predictions import Predictions
from medjax.evaluation.stats import Estimate
from medjax.outputs.base import Answer
from medjax.typing import Json


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a run; a notebook shows it."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result:
    """A run that has ended.

    Attributes:
      workdir: the folder that holds everything: report, predictions, figures, checkpoints.
      report: its numbers, as in `report.json`.
      predictions: those of the split of the report, beside their reference: columns as
        `case_id`, and `label` and `probability` `[n, class]` of a classifier; None of a run that
        was opened again, which has them in `predictions.csv`.
      network: the module of one's own that was trained; None: one of medjax's.
    """

    workdir: Path
    report: Json
    predictions: Predictions | None
    network: Any = None

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Each metric: its `.value`, and `.low` and `.high` of its 95 % interval over subjects."""
        return dict(self.report["metrics"])

    @property
    def page(self) -> Path:
        """`report.html`, one file to open or to mail."""
        return self.workdir / page.NAME

    @property
    def figures(self) -> list[str]:
        """The names of the figures."""
        return sorted(p.stem for p in (self.workdir / "figures").glob("*.png"))

    def figure(self, name: str) -> Figure:
        """A figure by name, which a notebook shows; raises UserError if there is none."""
        if name not in self.figures:
            raise unknown("figure", name, self.figures)
        return Figure(self.workdir / "figures" / f"{name}.png")

    @functools.cached_property
    def _opened(self) -> Bundle:  # once: a bundle compiles its answers for itself
        return bundle.of_run(self.workdir, network=self.network)

    def bundle(self) -> Bundle:
        """The trained network, ready to answer."""
        return self._opened

    def predict(self, image: np.ndarray | str | Path, **hints: Any) -> Answer:
        """The answer for one new image, an array or a file; options as of `Bundle.predict`."""
        return self.bundle().predict(image, **hints)

    def share(self, path: str | Path, **notes: str) -> Path:
        """Writes a bundle: a folder, or an archive where the name ends in .zip.

        Args:
          path: that is not there yet.
          notes: what no run knows: `name`, `licence`, `intended_use`, `limits`, `authors`.

        Raises:
          UserError: if something is at that path.
        """
        target = Path(path)
        odd = next((name for name in notes if name not in card.Notes._fields), None)
        if odd is not None:
            raise unknown("note", odd, card.Notes._fields)
        if target.exists():
            raise UserError(f"{target}: is there already; choose another name, or remove it")
        files = bundle.make(self.workdir, notes=card.Notes(**{"name": target.stem, **notes}))
        archive.write(target, files)
        return target

    def __repr__(self) -> str:
        lines = [
            f"{name:<20} {report.with_interval(estimate):<24} baseline "
            f"{self.report['baseline'][name]:.3f}"
            for name, estimate in self.metrics.items()
        ]
        why = report.reasons(self.metrics)
        return "\n".join([self._title(), *lines, *why, f"page: {self.page}"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{report.with_interval(estimate)}</td>"
            f"<td>{self.report['baseline'][name]:.3f}</td></tr>"
            for name, estimate in self.metrics.items()
        )
        return (
            f"<p><b>{html.escape(self._title())}</b></p><table><tr><th>metric</th>"
            f"<th>value [95 % interval]</th><th>baseline</th></tr>{rows}</table>"
            + "".join(f"<p>{html.escape(line)}</p>" for line in report.reasons(self.metrics))
        )

    def _title(self) -> str:
        r = self.report
        return f"{r['dataset']}, {r['split']}: {report.population(r)}; {r['of']}"


def open_run(workdir: str | Path, *, network: Any = None) -> Result:
    """Opens a run that has ended, to plot it, predict with it, or share it.

    Args:
      workdir: its folder.
      network: the module, of a run with one of one's own.

    Raises:
      UserError: if the folder holds no run that has ended.
    """
    path = Path(workdir) / "report.json"
    try:
        written = json.loads(path.read_text())
        metrics = {k: report.estimate_of(v) for k, v in written["metrics"].items()}
        baseline = {k: math.nan if v is None else v for k, v in written["baseline"].items()}
    except (OSError, ValueError, KeyError, AttributeError):
        raise UserError(f"{workdir}: holds no run that has ended (no {path.name})") from None
    read = {**written, "metrics": metrics, "baseline": baseline}
    return Result(Path(workdir), read, None, network)

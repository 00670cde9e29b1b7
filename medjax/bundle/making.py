"""A bundle is made of a run that has ended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medjax import schema, weights
from medjax.bundle import card, exported, manifest
from medjax.bundle.reading import ABOUT, REPORT, Bundle, describe, opened
from medjax.errors import UserError
from medjax.tasks.base import inputs_of, own_network_name
from medjax.train.record import dump_json
from medjax.typing import Json

_OF_THIS_MACHINE = (
    "data_dir",
    "workdir",
    "cache_dir",
    "beside",
    "pose_from",
    "init_from",
    "taxonomy",
    "pairs",
)


def of_run(workdir: Path, *, network: Any = None) -> Bundle:
    """A finished run, opened as the bundle that it would make; errors as of `make`.

    Args:
      network: as of `load`.
    """
    files = make(workdir, notes=card.Notes(workdir.name))
    return opened(files, where=str(workdir), network=network)


def make(
    workdir: Path, *, notes: card.Notes, export: bool = False, network: Any = None
) -> dict[str, bytes]:
    """The files of a bundle of a finished run.

    Args:
      network: as of `load`; to export it.
      notes: what the card says that no run knows.
      export: with a compiled function for those who have no medjax.

    Raises:
      UserError: if the run has not ended, or what it left does not belong together.
    """
    config = _of_run(workdir, "config.json", has=("experiment", "how", "trained"))
    predictor, spec = describe(config, where=f"{workdir}: config.json")
    report = _of_run(workdir, REPORT, has=("metrics", "baseline", "versions", "split"))
    try:
        values = (workdir / weights.NAME).read_bytes()
    except OSError as e:
        raise UserError(
            f"{workdir / weights.NAME}: {e.strerror}; run the experiment with `eval_only`"
        ) from None
    if report.get("weights_sha256") != manifest.sha256(values):
        raise UserError(
            f"{workdir}: {weights.NAME} is not that of report.json; run the experiment "
            "with `eval_only`"
        )
    flags = {
        k: v
        for k, v in config.items()
        if k not in ("experiment", "how", "trained", *_OF_THIS_MACHINE)
    }
    config = {**config, "own_network": own_network_name(predictor)}
    about = {
        "experiment": config["experiment"],
        "how": config["how"],
        "trained": config["trained"],
        "config": flags,
    }
    files = {ABOUT: dump_json(about), REPORT: dump_json(report), weights.NAME: values}
    if export:
        function = exported.make(opened(sealed(files), where=str(workdir), network=network))
        about["exported"] = {
            "sha256": manifest.sha256(function),
            "weights_sha256": manifest.sha256(values),
        }
        files |= {exported.NAME: function, ABOUT: dump_json(about)}
    text = card.write(
        files,
        report,
        config,
        notes,
        description=predictor.output.describe(spec.info),
        inputs=inputs_of(predictor, spec),
    )
    files[card.NAME] = text.encode(errors="replace")
    return sealed(files)


def sealed(files: dict[str, bytes]) -> dict[str, bytes]:
    """With its manifest."""
    return {**files, manifest.NAME: manifest.make(files)}


def _of_run(workdir: Path, name: str, *, has: Sequence[str]) -> Json:
    """What a run left: an object that has these fields."""
    try:
        value = schema.parse((workdir / name).read_bytes())
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        begun = name == REPORT and (workdir / "config.json").exists()
        why = (
            "no such folder"
            if not workdir.is_dir()
            else f"no readable {name}: this run has not ended; give its command again"
            if begun
            else f"no readable {name}"
        )
        raise UserError(f"{workdir}: {why}; name the work directory of a run that has ended")
    lacking = [field for field in has if field not in value]
    if lacking:
        raise UserError(
            f"{workdir}: {name} has no {', '.join(lacking)}; was it written by an "
            "older medjax? Run the experiment with `eval_only`"
        )
    return value

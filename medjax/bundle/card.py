"""The model card of a bundle, filled from its run."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medjax.outputs.base import Description, Input
from medjax.typing import JsonView

NAME = "README.md"  # where a hub looks for it


class Notes(NamedTuple):
    """What no run knows.

    Attributes:
      name: of the model.
      licence: of the weights.
      intended_use, limits: in words.
      authors: whom to cite.
    """

    name: str
    licence: str = "unknown"
    intended_use: str = ""
    limits: str = ""
    authors: str = ""


def text(value: Any) -> str:
    """A stranger's words as one line of Markdown that means just them: no link, picture or HTML."""
    line = " ".join(str(value).split())
    if re.search(r"://|www\.|@", line):  # some readers make a link of it, unless it is code
        return "`" + line.replace("`", "'").replace("|", "/") + "`"
    return re.sub(r"([\\`*_{}\[\]<>()#|!~$&])", r"\\\1", line)


def escaped(value: Any) -> Any:
    """The same of every text in nested data; names of fields stay."""
    if isinstance(value, Mapping):
        return {k: escaped(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [escaped(v) for v in value]
    return text(value) if isinstance(value, str) else value


def _bibtex(value: str) -> str:
    """Words that end no field of an entry."""
    return re.sub(r"[{}\\@%`\"]", "", " ".join(value.split()))


def write(
    files: Mapping[str, bytes],
    report: JsonView,
    config: JsonView,
    notes: Notes,
    *,
    description: Description,
    inputs: Sequence[Input],
) -> str:
    """The card as Markdown, with the head that the Hugging Face Hub reads.

    Args:
      files: of the bundle; report, config: of its run.
      description: what the network does; inputs: what it takes.
    """
    info = config["trained"]["info"]
    safe_report, known = escaped(report), escaped(info)
    shown = Notes(*map(text, notes))
    return (
        "\n\n".join(
            part
            for part in (
                _head(report, notes),
                f"# {shown.name}",
                _summary(safe_report, description),
                _metrics(safe_report),
                _data(safe_report, known),
                _use(shown, safe_report),
                _how_to(files, config, inputs),
                _origin(safe_report),
                _citing(info, notes),
            )
            if part
        )
        + "\n"
    )


def _head(report: JsonView, notes: Notes) -> str:
    lines = {
        "library_name": "medjax",
        "license": notes.licence.lower(),
        "tags": ["medical", "jax", report["experiment"]],
    }
    return "---\n" + "\n".join(f"{k}: {json.dumps(v)}" for k, v in lines.items()) + "\n---"


def _summary(safe_report: JsonView, description: Description) -> str:
    folds = safe_report.get("folds")
    made = f"an ensemble of the networks of {len(folds)} folds" if folds else safe_report["of"]
    return (
        f"A network of medjax that {text(description.task)}: {safe_report['model']}, "
        f"{safe_report['parameters']:,} parameters, {made}.\n\nIt knows: "
        f"{', '.join(map(text, description.names))}."
    )


def _metrics(report: JsonView) -> str:
    rows = ["| metric | value [95 % interval] | baseline |", "|---|---|---|"]
    for name, estimate in report["metrics"].items():
        baseline = _number(report["baseline"].get(name))
        rows.append(f"| {text(name)} | {_estimate(estimate)} | {baseline} |")
    made = ", synthetic" if report["synthetic"] else ""
    known = report.get("subjects_known_by", "not recorded")
    who = (
        f"{report['subjects']} subjects ({known}); intervals are over subjects"
        if known
        else "subjects that are not known: intervals are over images"
    )
    positive = report.get("positive")
    positive_note = f" F1 and average precision are of the class {positive}." if positive else ""
    return (
        f"## Numbers\n\n{report['dataset']}{made}, {report['split']} split: {report['cases']} "
        f"cases of {who}. Baseline: {report['baseline_is']}.{positive_note}\n\n" + "\n".join(rows)
    )


def _estimate(estimate: JsonView) -> str:
    value = _number(estimate["value"])
    if estimate.get("low") is None:
        return value
    return f"{value} [{_number(estimate['low'])}, {_number(estimate['high'])}]"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _data(report: JsonView, info: JsonView) -> str:
    kind = "" if info["modality"] == "unknown" else f": {info['modality']}"
    licence = "not recorded" if info["licence"] == "unknown" else info["licence"]
    return (
        f"## Data\n\n{info['name']}{kind}. Licence of the data: {licence}."
        f"{' Images or labels are synthetic.' if info['synthetic'] else ''}"
        + "".join(f"\n\nNote: {note}." for note in report["notes"])
    )


def _use(notes: Notes, report: JsonView) -> str:
    use = notes.intended_use or (
        "Research. It is no medical device, and no decision about a patient may rest on it."
    )
    limits = [notes.limits] if notes.limits else []
    if report["split"] == "validation":
        limits.append(
            "The split of the numbers above also chose the checkpoint, which flatters them."
        )
    if report["synthetic"]:
        limits.append("It was trained on synthetic data: of real images nothing is known.")
    limits.append(
        f"Images unlike those of {report['dataset']} (another scanner, protocol or "
        "population) may be answered wrongly, and with confidence."
    )
    return f"## Intended use\n\n{use}\n\n## Limits\n\n" + "\n".join(f"- {x}" for x in limits)


def _how_to(files: Mapping[str, bytes], config: JsonView, inputs: Sequence[Input]) -> str:
    posed = bool(config["trained"]["info"]["pose"])
    first = "It takes images in one pose, and so the answers of a network that looks first.\n\n"
    flag, value = (
        (" --pose_from=FIRST_ANSWERS/predictions.csv", ", points_mm=first.points_mm")
        if posed
        else ("", "")
    )
    own = str(config.get("own_network", ""))
    network = f", network={text(own)}(...)" if own else ""
    predict = f"medjax predict THIS_FOLDER MY_IMAGES --output=answers{flag}\n"
    lines = (
        f"## Use\n\n{first if posed else ''}"
        + (
            f"Its network, {text(own)}, is its author's own, and not in here: ask for it.\n\n"
            * bool(own)
        )
        + f"```bash\nmedjax share verify THIS_FOLDER\n{'' if own else predict}```\n\n"
        "```python\nimport medjax\n\n"
        f'model = medjax.load("THIS_FOLDER"{network})\nmodel.predict(image{value})\n```'
    )
    return lines + (_without(files, inputs) if "model.stablehlo" in files else "")


def _without(files: Mapping[str, bytes], inputs: Sequence[Input]) -> str:
    steps = "; ".join(given.text for given in inputs)
    digest = hashlib.sha256(files["weights.safetensors"]).hexdigest()
    return (
        "\n\nWithout medjax, by JAX alone (`pip install jax flatbuffers safetensors`); the "
        f"scaling of pixels is inside. `inputs`: {steps}.\n\n```python\n"
        "import hashlib\nfrom pathlib import Path\n\nfrom jax import export\n"
        'from safetensors.numpy import load\n\nfolder = Path("THIS_FOLDER")\n'
        'run = export.deserialize((folder / "model.stablehlo").read_bytes())\n'
        'content = (folder / "weights.safetensors").read_bytes()\n'
        f'assert hashlib.sha256(content).hexdigest() == "{digest}"\n'
        "answers = run.call(load(content), *inputs)\n```"
    )


def _origin(report: JsonView) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in report["versions"].items())
    return (
        f"## Origin\n\nTrained by `medjax {report['experiment']}` on {report['device']}, "
        f"{report['train']['seconds']:.0f} s; {versions}. sha256 of the weights: "
        f"`{report['weights_sha256']}`. A sha256 tells that a file is whole, not who made it: "
        "for that, `share verify --public_key=FILE` checks a signature, where there is one."
    )


def _citing(info: JsonView, notes: Notes) -> str:
    name = _bibtex(notes.name)
    author = f"  author = {{{_bibtex(notes.authors)}}},\n" if notes.authors else ""
    key = re.sub(r"\W+", "_", name).strip("_") or "medjax_bundle"
    own = f"@misc{{{key},\n{author}  title = {{{name}}},\n  note = {{medjax bundle}}\n}}"
    data = f"\n\n{_bibtex(info['citation'])}" if info["citation"] else ""
    return f"## Citing\n\n```\n{own}{data}\n```"

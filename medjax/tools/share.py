"""Trained networks handed from one to another: a bundle is verified, and reading it runs no code.

    medjax share make runs/classify my_bundle      # or my_bundle.zip
    medjax share verify my_bundle
    medjax share show my_bundle
    medjax share diff my_bundle other_bundle.zip
    medjax share push my_bundle USER/NAME          # pip install 'medjax[hub]'
    medjax share pull USER/NAME my_copy

Then `medjax predict` answers with it. A sha256 proves that a bundle is whole, not who made
it. To prove that, sign it (pip install cryptography) and give others the public key:

    openssl genpkey -algorithm ed25519 -out private.pem
    openssl pkey -in private.pem -pubout -out public.pem
    medjax share make runs/classify my_bundle --sign_key=private.pem
    medjax share verify my_bundle --public_key=public.pem
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medjax import bundle, runtime, schema, weights
from medjax.bundle import archive, hub, manifest
from medjax.bundle.card import Notes
from medjax.config import option
from medjax.data import walk
from medjax.errors import UserError, unknown
from medjax.evaluation import report
from medjax.tasks.base import missing_network


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags."""

    files: tuple[str, ...] = option(
        (), "make, verify, show, diff, push or pull, and what it is done to", positional=True
    )
    name: str = option("", "make: of the model; empty: that of the bundle")
    licence: str = option("unknown", "make: of the weights, as an SPDX identifier")
    authors: str = option("", "make: whom to cite")
    intended_use: str = option("", "make: what it is for, for the card")
    limits: str = option("", "make: what it cannot do, for the card")
    stablehlo: bool = option(
        False, "make: add a compiled function for those without medjax (pip install flatbuffers)"
    )
    sign_key: str = option("", "make: sign by this private Ed25519 key (PEM)", path=True)
    public_key: str = option(
        "", "reading: the bundle must be signed by the owner of this key (PEM)", path=True
    )
    sha256: str = option("", "reading: the bundle must be the one with this sha256")
    limit_gb: float = option(4.0, "refuse to read a larger bundle", least=0)


def main(config: Config) -> None:
    verb, *paths = config.files or ("",)
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS)
    takes, act = VERBS[verb]
    if len(paths) != len(takes):
        names = f"needs {len(takes)} name{'s' if len(takes) > 1 else ''}, got {len(paths)}"
        raise UserError(f"{verb}: {names}: medjax share {verb} {' '.join(takes)}")
    act(config, *paths)


def make(config: Config, workdir: str, target: str) -> None:
    """Writes a new bundle: a folder, or an archive where the name ends in .zip."""
    path = Path(target)
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name, or remove it")
    runtime.setup(Path("~/.cache/medjax").expanduser())
    notes = Notes(
        config.name or path.stem, config.licence, config.intended_use, config.limits, config.authors
    )
    files = bundle.make(Path(workdir), notes=notes, export=config.stablehlo)
    if config.sign_key:
        files[manifest.SIGNATURE] = manifest.sign(files[manifest.NAME], Path(config.sign_key))
    model = bundle.opened(files, where=str(path), answers=False)  # what is written can be read
    archive.write(path, files)
    own = missing_network(model.predictor)
    use = f"from Python, with its network {own}" if own else f"medjax predict {path} IMAGES"
    print(
        f"wrote {path}: {len(files)} files, {sum(map(len, files.values())):,} bytes; sha256 of its "
        f"contents {manifest.check(files, where=target).sha256}\n"
        f"next: medjax share verify {path}; to use it: {use}"
    )


def verify(config: Config, source: str) -> None:
    """Reads all of a bundle, and says what was proved."""
    model = load(config, source)
    signed = manifest.SIGNATURE in model.files
    print(f"{source}: whole; {len(model.files)} files; sha256 of its contents {model.digest}")
    if own := missing_network(model.predictor):
        print(f"its network, {own}, is its author's own: the weights were not fitted to it")
    print(
        "signed by the owner of " + config.public_key
        if config.public_key
        else "signed; give --public_key to check by whom"
        if signed
        else "not signed: nothing here proves who made it"
    )


def show(config: Config, source: str) -> None:
    """What a bundle is, its numbers, its files."""
    model = load(config, source)
    try:
        _show(source, model)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise UserError(f"{source}: {bundle.REPORT}: not that of a run ({e!r})") from None


def _show(source: str, model: bundle.Bundle) -> None:
    info, numbers = model.spec.info, model.report
    known = model.predictor.output.describe(info).names
    rows = [
        [
            name,
            report.with_interval(report.estimate_of(value)),
            f"{baseline:.3f}" if (baseline := numbers["baseline"].get(name)) is not None else "",
        ]
        for name, value in numbers["metrics"].items()
    ]
    report.show(
        f"{source}: {model.experiment}, {numbers['model']}, trained on {info.name}",
        ["metric", "value [95 % interval]", "baseline"],
        rows,
        [
            f"{numbers['split']}: {report.population(numbers)}"
            f"{', synthetic' if info.synthetic else ''}",
            *([f"knows: {', '.join(known)}"] if known else []),
            f"{numbers['parameters']:,} parameters; "
            f"{walk.counted(model.spec.seeds, 'network')}{' together' * (model.spec.seeds > 1)}",
            *numbers.get("notes", []),
            f"input: {' x '.join(map(str, model.spec.image_shape))}, {model.spec.image_dtype}",
            f"sha256 {model.digest}",
            "",
            *(
                f"{len(content):>12,} bytes  {name}"
                for name, content in sorted(model.files.items())
            ),
        ],
    )


def diff(config: Config, a: str, b: str) -> None:
    """Where two bundles differ: settings, numbers, weights."""
    first_model, other = load(config, a), load(config, b)
    rows = []
    for part, name in (
        ("how", "predictor"),
        ("trained", "spec"),
        ("config", "config"),
        ("report", "report"),
    ):
        left, right = (schema.flat(getattr(x, name)) for x in (first_model, other))
        rows += [
            [f"{part}: {k}", str(left.get(k, "-")), str(right.get(k, "-"))]
            for k in dict.fromkeys([*left, *right])
            if left.get(k) != right.get(k)
        ]
    rows += _weights(weights.flat(first_model.weights), weights.flat(other.weights))
    report.show(
        f"{a} and {b}: {'the same' if not rows else f'{len(rows)} differences'}",
        ["", "first", "second"],
        [[_short(x) for x in row] for row in rows],
    )


def _weights(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> list[list[str]]:
    """How far each array is from its like."""
    rows = []
    for name in dict.fromkeys([*left, *right]):
        a, b = left.get(name), right.get(name)
        if a is None or b is None or a.shape != b.shape:
            rows.append([f"weights: {name}", *("-" if x is None else str(x.shape) for x in (a, b))])
        elif not np.array_equal(a, b):
            rows.append([f"weights: {name}", "", f"off by up to {np.abs(a - b).max():.3g}"])
    return rows


def _short(text: str) -> str:
    return text if len(text) <= 44 else text[:41] + "..."


def push(config: Config, source: str, repository: str) -> None:
    """Uploads a bundle, verified first; as an archive it is unpacked."""
    print(f"pushed to {hub.push(load(config, source).files, repository)}")


def pull(config: Config, repository: str, target: str) -> None:
    """Downloads a bundle into a new folder, verified first."""
    path = Path(target)
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name, or remove it")
    files = hub.pull(repository, limit_bytes=int(config.limit_gb * 1e9))
    bundle.check_origin(files, sha256=config.sha256, public_key=config.public_key, where=repository)
    model = bundle.opened(files, where=repository, answers=False)
    archive.write_folder(path, files)
    print(f"wrote {path}, sha256 {model.digest}")


def load(config: Config, source: str) -> bundle.Bundle:
    return bundle.load(
        source,
        limit_bytes=int(config.limit_gb * 1e9),
        sha256=config.sha256,
        public_key=config.public_key,
        answers=False,
    )


VERBS: dict[str, tuple[tuple[str, ...], Callable]] = {
    "make": (("RUN", "BUNDLE"), make),
    "verify": (("BUNDLE",), verify),
    "show": (("BUNDLE",), show),
    "diff": (("BUNDLE", "BUNDLE"), diff),
    "push": (("BUNDLE", "REPOSITORY"), push),
    "pull": (("REPOSITORY", "BUNDLE"), pull),
}

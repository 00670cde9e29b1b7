"""A bundle is read: verified first, then opened."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax import models, runtime, schema, weights
from medjax.bundle import archive, exported, limits, manifest, memory
from medjax.errors import UserError, first_line
from medjax.outputs.base import Answer, ImageHints, ModelSpec, PreparedImage, split_of
from medjax.tasks.base import (
    Predictor,
    compile_answers,
    inputs_of,
    missing_network,
    own_network_name,
    predict_ensemble,
)
from medjax.tasks.families import TASKS
from medjax.train import mesh
from medjax.typing import Json, Tree

ABOUT, REPORT = "bundle.json", "report.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A trained network.

    Attributes:
      experiment: what it was trained by, and so what it answers.
      predictor: the settings that its answers depend on; spec: what it was trained on.
      weights: (parameters, batch statistics), a seed axis first.
      files: all that the bundle holds; `digest`: what names it.
      config: the flags of the run; `report`: its numbers.
      bytes_an_image: about what an answer takes at least.
    """

    experiment: str
    predictor: Predictor
    spec: ModelSpec
    weights: Tree
    files: dict[str, bytes]
    digest: str
    config: Json
    report: Json
    bytes_an_image: int

    def __repr__(self) -> str:
        """Three lines, whatever it holds: a notebook prints them."""
        info, shape = self.spec.info, " x ".join(map(str, self.spec.image_shape))
        names = self.predictor.output.describe(info).names
        some = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        size = sum(leaf.size for leaf in jax.tree.leaves(self.weights))
        return (
            f"medjax bundle, trained by `medjax {self.experiment}`, {size:,} numbers, "
            f"sha256 {self.digest[:16]}\n"
            f"knows: {some}\n"
            f"takes: {shape} {self.spec.image_dtype}, like those of {info.name}"
        )

    def predict(
        self,
        image: np.ndarray | str | Path,
        *,
        spacing_mm: float = 0.0,
        frame_ms: float = 0.0,
        affine: np.ndarray | None = None,
        resize: bool = False,
        channels: str = "",
        series: str = "",
        points_mm: np.ndarray | None = None,
    ) -> Answer:
        """The answer for one image, volume or sequence.

        Args:
          image: `[*space]` or `[*space, channel]`, with the range of values that files have; of a
            sequence with time first. Or a file that holds one, or the folder of a DICOM series.
          spacing_mm, frame_ms, resize, channels, series: as of `ImageHints`.
          affine: of a volume `[i, j, k]` from voxels to RAS mm, for landmarks.
          points_mm: of a network that takes images in one pose, the answer's `points_mm` of the
            network that looks first.

        Raises:
          UserError: if it does not fit the network.
        """
        for name, size in (("spacing_mm", spacing_mm), ("frame_ms", frame_ms)):
            if not 0 <= size < np.inf:
                raise UserError(f"`{name}={size}`: must not be negative, and finite")
        first = {} if points_mm is None else {"image": points_mm}
        hints = ImageHints(spacing_mm, frame_ms, resize, first, channels=channels, series=series)
        return self.answers(1)([self.prepare(image, hints, affine=affine)])[0]

    def prepare(
        self,
        image: np.ndarray | str | Path,
        hints: ImageHints,
        *,
        affine: np.ndarray | None = None,
    ) -> PreparedImage:
        """One image, volume or sequence, ready for the network; arguments and errors as of
        `predict`."""
        if isinstance(image, (str, Path)):
            return self._prepare_file(Path(image), hints)
        image = np.asarray(image)
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise UserError("image: has NaN or infinite pixels; mend it")
        if hints.points_mm and not self.spec.info.pose:
            raise UserError("points_mm: this network takes images in any pose; leave it out")
        more = {} if affine is None else {"affine": affine}
        return self.predictor.output.prepare.from_array(
            image, self.predictor, self.spec, hints=hints, **more
        )

    def _prepare_file(self, path: Path, hints: ImageHints) -> PreparedImage:
        if not path.exists():
            raise UserError(f"{path}: no such file")
        read = self.predictor.output.prepare.read
        ready = read(path, self.predictor, self.spec, case_id=path.name, hints=hints)
        if len(ready) != 1:
            raise UserError(f"{path}: holds {len(ready)} sequences; use medjax predict")
        return ready[0]

    def answers(self, batch: int) -> Callable[[Sequence[PreparedImage]], Sequence[Answer]]:
        """The compiled function for images of one shape, so many at a time."""
        answer, decide = _compiled(self, batch), self.predictor.output.decide

        def answer_all(ready: Sequence[PreparedImage]) -> Sequence[Answer]:
            plain = answer(self.weights, split_of(ready))
            return [decide(part, self.spec, self.report) for part in plain]

        return answer_all


@functools.lru_cache(maxsize=8)
def _compiled(bundle: Bundle, batch: int) -> Callable:
    return compile_answers(bundle.predictor, bundle.spec, batch=batch)


def load(
    path: str | Path,
    *,
    limit_bytes: int = archive.LIMIT_BYTES,
    sha256: str = "",
    public_key: str | Path = "",
    network: Any = None,
    answers: bool = True,
) -> Bundle:
    """Reads and verifies a bundle; what was verified is what is used.

    Args:
      path: the folder or archive.
      limit_bytes: a larger one is refused before it is read.
      sha256: of the bundle, as `share verify` prints it; another one is refused.
      public_key: a file (PEM) whose owner must have signed it.
      network: the module, of a bundle whose network is its author's own: a bundle holds weights and
        no code. The weights are fitted to its shapes.
      answers: as of `opened`.

    Raises:
      UserError: if any bit differs from what was written, or anything in it is not what a bundle
        of this version may hold; the file is named.
    """
    if Path(path, "config.json").exists():
        raise UserError(
            f"{path}: a work directory, not a bundle; make one: medjax share make {path} NAME.zip"
        )
    files = archive.read(Path(path), limit_bytes=limit_bytes)
    check_origin(files, sha256=sha256, public_key=public_key, where=str(path))
    return opened(files, where=str(path), network=network, answers=answers)


def check_origin(
    files: dict[str, bytes], *, sha256: str, public_key: str | Path, where: str
) -> None:
    """Raises UserError unless a bundle is the one that is expected, by its sha256 or signature."""
    digest = manifest.check(files, where=where).sha256
    if sha256 and digest != sha256.strip().lower():
        raise UserError(
            f"{where}: its sha256 is {digest}, not the one that was asked for; that of its "
            "contents, as `medjax share verify` prints it, not of the archive"
        )
    if public_key:
        manifest.check_signature(files, Path(public_key), where=where)


def opened(
    files: dict[str, bytes], *, where: str, network: Any = None, answers: bool = True
) -> Bundle:
    """What the files of a bundle hold; errors as of `load`, which begin with `where`.

    Args:
      network: as of `load`.
      answers: False: a bundle of a network of one's own is read without it; its weights are not
        fitted, and it cannot predict.
    """
    runtime.check_device()
    path, digest = where, manifest.check(files, where=where).sha256
    about = _object(files, ABOUT, path)
    where = f"{path}: {ABOUT}"
    predictor, trained = describe(about, where=where)
    limits.check_sizes(predictor, trained, where)
    arrays = weights.parse(files.get(weights.NAME, b""), where=f"{path}: {weights.NAME}")
    predictor = _with_own_network(predictor, network, path, answers=answers)
    fitted, needed = arrays, 0
    if not missing_network(predictor):
        shapes, needed = _abstract(predictor, trained, where)
        fitted = weights.fit(arrays, shapes, where=f"{path}: {weights.NAME}", seeds=True)
    weights.check_finite(arrays, where=f"{path}: {weights.NAME}")
    _check_exported(files, about, arrays, path)
    return Bundle(
        about["experiment"],
        predictor,
        trained,
        fitted,
        files,
        digest,
        about.get("config") or {},
        _object(files, REPORT, path),
        needed,
    )


def describe(about: Json, *, where: str) -> tuple[Predictor, ModelSpec]:
    """What answers, and what it was trained on; raises UserError."""
    kind = TASKS.get(str(about.get("experiment")))
    if kind is None:
        raise UserError(
            f"{where}: experiment {str(about.get('experiment'))[:40]!r} is not known; "
            f"known are {', '.join(TASKS)}"
        )
    predictor = schema.read(kind, about.get("how"), where=f"{where}: how")
    return predictor, schema.read(ModelSpec, about.get("trained"), where=f"{where}: trained")


def _with_own_network(predictor: Any, network: Any, where: str, *, answers: bool) -> Any:
    """The predictor with the network that only its author has; raises UserError without it."""
    name = missing_network(predictor)
    if network is not None and not name:
        raise UserError(f"{where}: medjax knows its network, {predictor.model}; leave network out")
    if name and network is None and answers:
        raise UserError(
            f"{where}: its network, {name}, is its author's own, and no code is kept with weights; "
            f"{_how_to_bring(predictor, name, where)}"
        )
    if network is not None:
        models.check_module(network)
    return dataclasses.replace(predictor, own_network=network) if network is not None else predictor


def _how_to_bring(predictor: Any, name: str, where: str) -> str:
    """What gives the network `name` back, that its author has handed over or registered."""
    if getattr(predictor, "model", "").startswith("own:"):
        call = "open_run" if (Path(where) / "report.json").exists() else "load"
        return f"from Python: medjax.{call}(path, network={name}(...))"
    return f"from Python, first: medjax.register_network({name!r}, ...)"


def _object(files: dict[str, bytes], name: str, path: Any) -> Json:
    try:
        value = schema.parse(files[name])
    except (KeyError, ValueError) as e:
        why = "missing" if isinstance(e, KeyError) else f"no JSON ({first_line(e)})"
        raise UserError(f"{path}: {name}: {why}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: {name}: no JSON object")
    schema.check_texts(value, where=f"{path}: {name}")  # they may come to a terminal
    return value


def _check_memory(needed: int, where: str) -> None:
    there = mesh.memory_bytes()
    if needed > there:  # a product of settings of which each is in range
        raise UserError(
            f"{where}: its settings together need {needed / 1e9:.3g} GB to answer, "
            f"this machine has {there / 1e9:.3g}"
        )


def _check_exported(
    files: dict[str, bytes], about: Json, arrays: dict[str, np.ndarray], where: str
) -> None:
    """The compiled function belongs to these weights."""
    if "exported" not in about and exported.NAME not in files:
        return
    recorded = about.get("exported", {})
    if exported.NAME not in files or not isinstance(recorded, dict):
        raise UserError(f"{where}: {exported.NAME} is missing, or {ABOUT} tells nothing of it")
    function = files[exported.NAME]
    own = {
        "sha256": manifest.sha256(function),
        "weights_sha256": manifest.sha256(files[weights.NAME]),
    }
    # Bundles of before say nothing of it: then only the names of its weights can be compared.
    if (recorded and recorded != own) or not exported.takes(function, arrays):
        raise UserError(f"{where}: {exported.NAME} was not made for these weights")


def _abstract(predictor: Any, trained: ModelSpec, where: str) -> tuple[Any, int]:
    """The shapes that the weights must have, and the bytes that an answer takes."""
    try:
        one_seed = jax.eval_shape(predictor.make_task(trained).init, jax.random.key(0))
        every = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((trained.seeds, *x.shape), x.dtype), one_seed
        )
        function = predict_ensemble(predictor, trained)  # that it can answer, too
        needed = memory.bytes_of(
            function,
            *every,
            *(
                jax.ShapeDtypeStruct(
                    [1 if n == "b" else int(n) for n in given.shape.split(", ")],
                    np.dtype(given.dtype),
                )
                for given in inputs_of(predictor, trained)
            ),
        )
    except Exception as e:  # whatever a network says to settings that no run can have
        if isinstance(e, UserError) and own_network_name(predictor):
            raise UserError(f"{where}: {e}") from None
        raise UserError(f"{where}: describes no network ({first_line(e)})") from None
    _check_memory(needed, where)
    return every, needed

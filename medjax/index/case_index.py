"""An open index of cases: added to, searched, verified."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medjax import progress
from medjax.bundle import Bundle
from medjax.data import images, subjects, walk
from medjax.errors import UserError
from medjax.index import listing
from medjax.index.conditions import COLUMNS, Condition
from medjax.index.postgres_store import PostgresStore
from medjax.index.sqlite_store import SqliteStore
from medjax.index.store import NewCase, SimilarCase, pack_vector
from medjax.outputs.base import ImageHints, PreparedImage
from medjax.outputs.embeddings.serve import Embedding

_AT_A_TIME = 32  # images, that are described and kept together


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """What an index is; plain data, which stands in it.

    Attributes:
      format: of its tables; version: of medjax, by which it was made.
      network_sha256: of the bundle that describes images.
      distance: one of `ops.neighbours.DISTANCES`; bytes_a_vector: the length of a vector.
      approximate: whether a graph is searched, which may pass over near cases.
      subject_key: by which names of patients in DICOM files are hidden.
    """

    format: int
    version: str
    network_sha256: str
    distance: str
    bytes_a_vector: int
    approximate: bool
    subject_key: str


class AddedCount(NamedTuple):
    """What became of the images that were to be added.

    Attributes:
      added: are new; known: were there already.
      bad: name and complaint of those that were not added.
    """

    added: int
    known: int
    bad: list[tuple[str, str]]


class LookUp(NamedTuple):
    """What an index answers to an image.

    Attributes:
      cases: the nearest first; picture: of the image, a PNG.
      same: how many cases have the same file, and were passed over.
    """

    cases: list[SimilarCase]
    picture: bytes
    same: int


Store = SqliteStore | PostgresStore


class ReadImage(NamedTuple):
    """An image that is to be added, as far as its file tells.

    Attributes:
      digest: sha256 of the file; picture: what is shown of it; ready: for the network.
    """

    image: listing.ListedImage
    digest: str
    subject_id: str
    picture: bytes
    ready: PreparedImage


class CaseIndex:
    """An open index; close it, or use it as a context."""

    def __init__(self, store: Store, settings: IndexSettings, model: Bundle):
        self._store, self.settings, self.model = store, settings, model
        store.prepare_search(settings.distance, approximate=settings.approximate)

    def __enter__(self) -> "CaseIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the store."""
        self._store.close()

    def __len__(self) -> int:
        return self._store.count_cases()

    def __repr__(self) -> str:
        """Two lines, whatever it holds."""
        return (
            f"medjax index {self._store.name}: {walk.counted(len(self), 'case')}, by "
            f"{self.settings.distance} distance\n"
            f"described by the network with sha256 {self.settings.network_sha256[:16]}"
        )

    def search(
        self,
        image: np.ndarray | str | Path,
        *,
        k: int = 5,
        where: Sequence[Condition] = (),
        subject_id: str = "",
        hints: ImageHints | None = None,
    ) -> list[SimilarCase]:
        """The cases that look like an image, the nearest first; as `look_up`, without the rest."""
        return self.look_up(image, k=k, where=where, subject_id=subject_id, hints=hints).cases

    def look_up(
        self,
        image: np.ndarray | str | Path,
        *,
        k: int = 5,
        where: Sequence[Condition] = (),
        subject_id: str = "",
        hints: ImageHints | None = None,
    ) -> LookUp:
        """The same, with a picture of the image, and what is passed over.

        A case with the same file as the image is none of the answers.

        Args:
          image: a file, or an array as of `Bundle.predict`.
          k: how many.
          where: conditions on metadata, of `parse_conditions`.
          subject_id: of the image, whose other cases are passed over; empty: by the header of a
            DICOM file, of others not known.
          hints: of what the file does not say.

        Raises:
          UserError: if the image does not fit the network, or the store fails.
        """
        if k < 1:
            raise UserError(f"`k={k}`: must be at least 1")
        same = self._find_same(image)
        known = hints or ImageHints()
        ready = self.model.prepare(image, known)
        vector = pack_vector(
            describe_images(self.model, [ready])[0], distance=self.settings.distance
        )
        conditions = list(where)
        conditions += [
            Condition("subject_id", "!=", name) for name in self._names_of(image, subject_id)
        ]
        hits = self._store.search(vector, k=k + len(same), conditions=conditions)
        kept = [(number, far) for number, far in hits if number not in same]
        picture = (
            listing.make_picture(ready.image)
            if isinstance(image, np.ndarray)
            else listing.picture_file(Path(image), ready.image, limit_bytes=known.limit_bytes)
        )
        return LookUp(self._store.read_cases(kept[:k]), picture, len(same))

    def _names_of(self, image: np.ndarray | str | Path, subject_id: str) -> list[str]:
        """What the subject of an image may be called in the index: as it is, or by a pseudonym."""
        if not subject_id and not isinstance(image, np.ndarray):
            subject_id = subjects.patient_of(Path(image))
        if not subject_id:
            return []
        return [subject_id, subjects.pseudonym(subject_id, secret=self._read_secret())]

    def _find_same(self, image: np.ndarray | str | Path) -> set[int]:
        if isinstance(image, np.ndarray) or not Path(image).exists():
            return set()
        return set(self._store.find_image(listing.hash_file(Path(image))))

    def add(
        self,
        root: str | Path,
        *,
        options: listing.ListingOptions | None = None,
        hints: ImageHints | None = None,
        say: Callable[[str], None] = print,
    ) -> AddedCount:
        """Adds the images below a folder; what is there already stays as it is.

        Images are kept in groups, each whole on the disk before the next begins: after a crash the
        same call goes on.

        Args:
          root: the folder, or one file.
          options: how the table of metadata is read; None: `metadata.csv` in `root`.
          hints: of what the files do not say.
          say: is told what is left out.

        Raises:
          UserError: if there are no images, another process adds, or the store fails.
        """
        with self._store.hold():
            listed, notes = listing.list_images(
                Path(root),
                self.model,
                options or listing.ListingOptions(),
                secret=self._read_secret,
            )
            for note in notes:
                say(f"note: {note}")
            known = self._store.list_images()
            bad: list[tuple[str, str]] = []
            added = 0
            tracked = progress.track(listed, total=len(listed), what="adding")
            ready = self._read(tracked, known, hints or ImageHints(), bad)
            for group in _group(ready, size=_AT_A_TIME):
                added += self._store.add(self._make_cases(group))
            return AddedCount(added, len(listed) - len(bad) - added, bad)

    def _read(
        self,
        listed: Iterator[listing.ListedImage],
        known: dict[str, str],
        hints: ImageHints,
        bad: list[tuple[str, str]],
    ) -> Iterator[ReadImage]:
        """Those that are new; what cannot be read goes to `bad`."""
        for image in listed:
            try:
                digest = listing.hash_file(image.path)
                if known.get(image.case_id, digest) != digest:
                    raise UserError("is in the index with other contents, and stays as it was")
                if image.case_id in known:
                    continue
                ready = self.model.prepare(image.path, hints)
                limit = images.LIMIT_BYTES
                picture = listing.picture_file(image.path, ready.image, limit_bytes=limit)
                subject = image.subject_id or self._find_patient(image.path)
                yield ReadImage(image, digest, subject, picture, ready)
            except (UserError, OSError) as e:
                complaint = str(e).removeprefix(f"{image.path}: ")
                bad.append((image.case_id, complaint.removeprefix(f"{image.path.name}: ")))

    def _make_cases(self, group: Sequence[ReadImage]) -> list[NewCase]:
        vectors = describe_images(self.model, [read.ready for read in group], batch=_AT_A_TIME)
        return [
            NewCase(
                read.image.case_id,
                read.digest,
                read.subject_id,
                read.image.facts,
                pack_vector(vector, distance=self.settings.distance),
                read.picture,
            )
            for read, vector in zip(group, vectors, strict=True)
        ]

    def _find_patient(self, path: Path) -> str:
        """By the header of a DICOM file, as a pseudonym; empty of others."""
        name = subjects.patient_of(path)
        return subjects.pseudonym(name, secret=self._read_secret()) if name else ""

    def _read_secret(self) -> bytes:
        return bytes.fromhex(self.settings.subject_key)

    def count_lacking(self, where: Sequence[Condition]) -> dict[str, int]:
        """How many cases lack the metadata of the conditions, and so do not meet them."""
        names = dict.fromkeys(c.name for c in where if c.name not in COLUMNS)
        return {name: self._store.count_lacking(name) for name in names}

    def count_facts(self) -> dict[str, dict[str | float, int]]:
        """How many cases have which metadata, by name and value."""
        return self._store.count_facts()

    def read_picture(self, number: int) -> bytes | None:
        """The picture of a case, a PNG; None where there is no such case."""
        return self._store.read_picture(number)

    def measure_recall(self, *, k: int = 5) -> float | None:
        """The share of the `k` nearest that an approximate folder finds; None of others."""
        if not self.settings.approximate or isinstance(self._store, PostgresStore):
            return None
        return self._store.load_vectors().measure_recall(k=k)

    def verify(self) -> str:
        """Reads all of it; the sha256 of its cases. Raises UserError if any bit is another one."""
        return self._store.check_total()


def describe_images(
    model: Bundle, ready: Sequence[PreparedImage], *, batch: int = 1
) -> list[np.ndarray]:
    """The vectors of images by a network; raises UserError for one that is not finite."""
    vectors = []
    for answer in model.answers(batch)(ready):
        assert isinstance(answer, Embedding)
        if not np.isfinite(answer.vector).all():
            raise UserError(f"{answer.case_id}: the network describes it by no finite numbers")
        vectors.append(answer.vector)
    return vectors


def _group(items: Iterator, *, size: int) -> Iterator[list]:
    group: list = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group

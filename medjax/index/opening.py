"""Indexes made and opened."""

import dataclasses
import os
import secrets
from pathlib import Path

import numpy as np

import medjax
from medjax import bundle, schema
from medjax.bundle import Bundle, archive
from medjax.errors import UserError
from medjax.index.case_index import CaseIndex, IndexSettings, Store, describe_images
from medjax.index.postgres_store import PostgresStore
from medjax.index.sqlite_store import SqliteStore
from medjax.index.store import NETWORK, SETTINGS, TOTAL, pack_vector
from medjax.index.vectors import WITH_GRAPH
from medjax.outputs.base import PreparedImage
from medjax.outputs.embeddings import EMBEDDINGS
from medjax.train.record import dump_json

FORMAT = 1
_DISTANCE = "cosine"
_MOST_NETWORK_BYTES = 900_000_000  # what a field of a database holds


def make_index(
    network: str | Path, where: str, *, store: str = "", approximate: bool = False
) -> CaseIndex:
    """A new index without cases.

    Args:
      network: a bundle, or the work directory of a run, of `medjax retrieve` or `pretrain`.
      where: the folder, or with `store` the name of the index in it.
      store: the address of a PostgreSQL database; empty: a folder.
      approximate: a graph is searched: faster for millions of cases, and may pass some over.

    Raises:
      UserError: if the network gives no vectors, or something is there already.
    """
    path = Path(network)
    files = (
        bundle.make(path, notes=bundle.Notes(path.name))
        if (path / "config.json").exists()
        else archive.read(path)
    )
    model = bundle.opened(files, where=str(network))
    if model.predictor.output is not EMBEDDINGS:
        raise UserError(
            f"{network}: its network, of `medjax {model.experiment}`, gives no vectors; an index "
            "needs one of `medjax retrieve` or `medjax pretrain`"
        )
    if approximate and find_distance_name(model) not in WITH_GRAPH:
        raise UserError(
            f"`approximate`: by {', '.join(WITH_GRAPH)} distance, and {network} has "
            f"{find_distance_name(model)}; leave it out"
        )
    settings = IndexSettings(
        FORMAT,
        medjax.__version__,
        model.digest,
        find_distance_name(model),
        _measure_vector(model),
        approximate,
        secrets.token_hex(16),
    )
    content = archive.zip_files(files)
    if len(content) > _MOST_NETWORK_BYTES:
        raise UserError(
            f"{network}: the network is too large for an index ({len(content):,} bytes)"
        )
    return CaseIndex(_create(where, store, settings, content), settings, model)


def list_left_out(model: Bundle) -> list[str]:
    """Settings of the run by which it ranks its own gallery, and an index does not."""
    names = ("known_classes", "metadata", "shortlist")
    return [name for name in names if getattr(model.predictor, name, False)]


def find_distance_name(model: Bundle) -> str:
    """By which the network's vectors are compared."""
    return str(getattr(model.predictor, "distance", _DISTANCE))


def _measure_vector(model: Bundle) -> int:
    """The bytes of a vector, by the answer to a black image."""
    black = PreparedImage(np.zeros(model.spec.image_shape, model.spec.image_dtype), "black")
    (vector,) = describe_images(model, [black])
    return len(pack_vector(vector, distance=find_distance_name(model)))


def _create(where: str, address: str, settings: IndexSettings, network: bytes) -> Store:
    if not address:
        return _create_folder(Path(where), settings, network)
    store = PostgresStore(address, where)
    store.prepare_search(settings.distance, approximate=settings.approximate)
    with store.transaction():
        store.create_tables(
            distance=settings.distance,
            width=settings.bytes_a_vector,
            approximate=settings.approximate,
        )
        _write_entries(store, settings, network)
    return store


def _create_folder(folder: Path, settings: IndexSettings, network: bytes) -> SqliteStore:
    """All or nothing: beside, then renamed."""
    if folder.exists() or folder.is_symlink():
        raise UserError(
            f"{folder}: is there already; choose another name, or go on with `medjax index add`"
        )
    partial_path = folder.with_name(f"{folder.name}.part")
    archive.remove_folder(partial_path)  # of a process that was killed
    partial_path.mkdir(parents=True)
    try:
        store = SqliteStore(partial_path, create=True)
        with store.transaction():
            _write_entries(store, settings, network)
        store.close()
        os.rename(partial_path, folder)
    except BaseException:
        archive.remove_folder(partial_path)
        raise
    return SqliteStore(folder)


def _write_entries(store: Store, settings: IndexSettings, network: bytes) -> None:
    store.write_entry(SETTINGS, dump_json(dataclasses.asdict(settings)))
    store.write_entry(NETWORK, network)
    store.write_entry(TOTAL, b"0" * 64)


def open_index(where: str | Path, *, store: str = "", network_sha256: str = "") -> CaseIndex:
    """An index that was made by `make_index`, its network verified.

    Args:
      where, store: as of `make_index`.
      network_sha256: of the network that it must have been made by; empty: any.

    Raises:
      UserError: if there is none, it was cut off, its network is not the one that it was made by,
        or the store cannot be reached.
    """
    opened_store: Store = PostgresStore(store, str(where)) if store else SqliteStore(Path(where))
    try:
        return _open(opened_store, network_sha256)
    except BaseException:
        opened_store.close()
        raise


def _open(store: Store, network_sha256: str) -> CaseIndex:
    try:
        value = schema.parse(store.read_entry(SETTINGS))
    except ValueError:
        raise UserError(f"{store.name}: damaged: its settings cannot be read") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise UserError(f"{store.name}: was made by another medjax; make it anew")
    settings = schema.read(IndexSettings, value, where=f"{store.name}: settings")
    if network_sha256 and settings.network_sha256 != network_sha256.strip().lower():
        raise UserError(
            f"{store.name}: was made by the network with sha256 {settings.network_sha256}, not by "
            "the one that was asked for: vectors of two networks cannot be compared"
        )
    files = archive.unzip_files(store.read_entry(NETWORK), name=f"{store.name}: network")
    model = bundle.opened(files, where=f"{store.name}: network")
    if model.digest != settings.network_sha256 or model.predictor.output is not EMBEDDINGS:
        raise UserError(
            f"{store.name}: its network is not the one that it was made by: vectors of two "
            "networks cannot be compared"
        )
    return CaseIndex(store, settings, model)

"""What a bundle holds, by size and sha256, and who says so."""

import base64
import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import medjax
from medjax import schema
from medjax.errors import UserError, first_line
from medjax.train.record import dump_json

NAME, SIGNATURE = "manifest.json", "manifest.sig"
FORMAT = 1  # of all that a bundle holds; readers read every one up to theirs


@dataclasses.dataclass(frozen=True)
class ManifestEntry:
    """A file: its name, its size, and its sha256 in hexadecimal digits."""

    name: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All files but this one and its signature.

    Attributes:
      sha256: of the manifest without this field: what names the bundle.
    """

    format: int
    made_by: str
    files: tuple[ManifestEntry, ...]
    sha256: str


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def make(files: Mapping[str, bytes]) -> bytes:
    """The contents of the manifest of `files`."""
    entries = tuple(
        ManifestEntry(name, len(content), sha256(content))
        for name, content in sorted(files.items())
    )
    bare = Manifest(FORMAT, f"medjax {medjax.__version__}", entries, "")
    return _dump(dataclasses.replace(bare, sha256=_digest(bare)))


def check(files: Mapping[str, bytes], *, where: str) -> Manifest:
    """Raises UserError unless every file is there, none is too many, and no bit of any differs."""
    content = files.get(NAME)
    if content is None:
        raise UserError(f"{where}: no {NAME} in it; is it a bundle of medjax?")
    manifest = _parse(content, f"{where}: {NAME}")
    listed = {e.name for e in manifest.files}
    present = set(files) - {NAME, SIGNATURE}
    for names, what in ((listed - present, "missing"), (present - listed, "not listed in it")):
        if names:
            raise UserError(f"{where}: {', '.join(sorted(names))}: {what}")
    damaged = [
        e.name
        for e in manifest.files
        if len(files[e.name]) != e.bytes or sha256(files[e.name]) != e.sha256
    ]
    if damaged:
        raise UserError(
            f"{where}: {', '.join(damaged)}: damaged or changed; the sha256 is not "
            "that of the manifest. Fetch the bundle again"
        )
    if SIGNATURE in files:
        _signature(files[SIGNATURE], f"{where}: {SIGNATURE}")
    return manifest


def _parse(content: bytes, where: str) -> Manifest:
    try:
        value = schema.parse(content)
    except ValueError as e:
        raise UserError(f"{where}: damaged; not JSON ({first_line(e)})") from None
    newest = value.get("format") if isinstance(value, dict) else None
    if isinstance(newest, int) and newest > FORMAT:
        raise UserError(
            f"{where}: has format {newest}, and this medjax reads up to {FORMAT}: "
            "install a newer one (or the file is damaged)"
        )
    manifest = schema.read(Manifest, value, where=where)
    if manifest.format < 1 or manifest.sha256 != _digest(manifest) or content != _dump(manifest):
        raise UserError(f"{where}: damaged or changed; its own sha256 differs")
    return manifest


def _digest(manifest: Manifest) -> str:
    return sha256(_dump(dataclasses.replace(manifest, sha256="")))


def _dump(manifest: Manifest) -> bytes:
    return dump_json(dataclasses.asdict(manifest))


def sign(content: bytes, key: Path) -> bytes:
    """The signature of a manifest by an Ed25519 key in PEM, as `openssl genpkey` makes it."""
    private: Any = _key(key, private=True)
    text = base64.b64encode(private.sign(content)).decode()
    return f"ed25519 {text} {sha256(text.encode())}\n".encode()


def check_signature(files: Mapping[str, bytes], key: Path, *, where: str) -> None:
    """Raises UserError unless the owner of the public `key` (PEM) has signed the manifest."""
    if SIGNATURE not in files:
        raise UserError(f"{where}: is not signed")
    public: Any = _key(key, private=False)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(_signature(files[SIGNATURE], f"{where}: {SIGNATURE}"), files[NAME])
    except InvalidSignature:
        raise UserError(f"{where}: signed, but not by the owner of {key}") from None


def _signature(content: bytes, where: str) -> bytes:
    """The signature that a file holds, whose check sum tells damage from forgery."""
    try:
        kind, text, digest = content.decode("ascii").split(" ")
        if kind != "ed25519" or digest != sha256(text.encode()) + "\n":
            raise ValueError
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise UserError(f"{where}: damaged, or no signature") from None


def _key(path: Path, *, private: bool) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise UserError("signatures need cryptography; pip install cryptography") from None
    try:
        content = path.read_bytes()
        key = (
            serialization.load_pem_private_key(content, None)
            if private
            else serialization.load_pem_public_key(content)
        )
    except (OSError, ValueError, TypeError) as e:
        raise UserError(f"{path}: no readable key ({e})") from None
    wanted = ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey
    if not isinstance(key, wanted):
        raise UserError(
            f"{path}: no {'private' if private else 'public'} Ed25519 key; make one by "
            "openssl genpkey -algorithm ed25519"
        )
    return key

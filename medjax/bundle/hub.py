"""Bundles on the Hugging Face Hub, or whatever server `HF_ENDPOINT` names."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medjax.bundle import archive, manifest
from medjax.errors import UserError, first_line


def push(files: Mapping[str, bytes], repository: str) -> str:
    """Uploads the files as one commit, so that no reader sees half a bundle; where they are then.

    The repository is made if need be, private until its owner says otherwise.
    """
    hub = _library()
    with _told(repository):
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True, private=True)
        done = api.create_commit(
            repository, [hub.CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message=f"medjax bundle {manifest.check(files, where=repository).sha256[:16]}")
    return str(done.commit_url)


def pull(repository: str, *, limit_bytes: int = archive.LIMIT_BYTES) -> dict[str, bytes]:
    """Downloads the files; what a hub adds to a repository (`.gitattributes`) is left out.

    Args:
      limit_bytes: more is not downloaded.
    """
    hub = _library()
    with _told(repository), tempfile.TemporaryDirectory() as folder:
        tree = list(hub.HfApi().list_repo_tree(repository, recursive=True))
        names = [entry.path for entry in tree if not entry.path.startswith(".git")]
        archive.check_names(Path(repository), names)
        if sum(getattr(entry, "size", 0) for entry in tree) > limit_bytes:
            raise archive.too_large(repository)
        if manifest.NAME not in names:
            raise UserError(f"{repository}: no {manifest.NAME} in it; is it a bundle of medjax?")
        for name in names:
            hub.hf_hub_download(repository, name, local_dir=folder)
        return {name: Path(folder, name).read_bytes() for name in names}


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("push and pull need huggingface_hub; pip install huggingface_hub"
                        ) from None
    return huggingface_hub


@contextlib.contextmanager
def _told(repository: str) -> Iterator[None]:
    """Whatever the library raises, as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # of the library, of its HTTP client, of the system
        raise UserError(f"{repository}: the hub says: {first_line(e)}") from e

"""Bundles and files of weights on the Hugging Face Hub, or whatever server `HF_ENDPOINT` names."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medjax.bundle import archive, manifest
from medjax.errors import UserError, first_line

_MOST_ENTRIES = 1000  # of a listing, which a server may never end


def push(files: Mapping[str, bytes], repository: str) -> str:
    """Uploads the files as one commit, so that no reader sees half a bundle; where they are then.

    The repository is made if need be, private until its owner says otherwise.
    """
    hub = _library()
    with _one_line_errors(repository):
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True, private=True)
        tree = api.list_repo_tree(repository, recursive=True, revision=_revision_of(repository))
        old = itertools.islice(tree, _MOST_ENTRIES)
        gone = [x.path for x in old if not x.path.startswith(".git") and x.path not in files]
        done = api.create_commit(
            repository,
            [
                *[hub.CommitOperationAdd(name, content) for name, content in files.items()],
                # Of a bundle before, which is no part of this one: a signature, say.
                *[hub.CommitOperationDelete(name, is_folder=False) for name in gone],
            ],
            commit_message=f"medjax bundle {manifest.check(files, where=repository).sha256[:16]}",
        )
    return str(done.commit_url)


def pull(repository: str, *, limit_bytes: int = archive.LIMIT_BYTES) -> dict[str, bytes]:
    """Downloads the files of one revision; what a hub adds (`.gitattributes`) is left out.

    Args:
      limit_bytes: more is not downloaded, whatever the listing says.
    """
    hub = _library()
    with _one_line_errors(repository):
        api, revision = hub.HfApi(), _revision_of(repository)
        tree = api.list_repo_tree(repository, recursive=True, revision=revision)
        names = [
            entry.path
            for entry in itertools.islice(tree, _MOST_ENTRIES)
            if not entry.path.startswith(".git")
        ]
        archive.check_names(Path(repository), names)
        if manifest.NAME not in names:
            raise UserError(f"{repository}: no {manifest.NAME} in it; is it a bundle of medjax?")
        files: dict[str, bytes] = {}
        for name in names:
            rest = limit_bytes - sum(map(len, files.values()))
            files[name] = _download(
                hub.hf_hub_url(repository, name, revision=revision), rest, repository
            )
        return files


def fetch_file(repository: str, name: str) -> tuple[Path, str]:
    """A file of a repository, kept in the cache of huggingface_hub, and the revision it is of."""
    hub = _library()
    with _one_line_errors(repository):
        revision = _revision_of(repository)
        return Path(hub.hf_hub_download(repository, name, revision=revision)), revision


def _revision_of(repository: str) -> str:
    """The newest commit; raises UserError where the hub names none."""
    revision = str(_library().HfApi().repo_info(repository).sha)
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"{repository}: the hub names no revision (a commit of 40 digits), so "
            "that what is listed and what is downloaded may differ"
        )
    return revision


def _download(url: str, limit: int, repository: str) -> bytes:
    """What stands there, but no more than the limit."""
    from huggingface_hub.utils import build_hf_headers, get_session

    content = bytearray()
    with get_session().stream("GET", url, headers=build_hf_headers(), follow_redirects=True) as r:
        r.raise_for_status()
        for part in r.iter_bytes():
            content += part
            if len(content) > limit:
                raise archive.too_large(repository)
    return bytes(content)


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("the hub needs huggingface_hub: pip install 'medjax[hub]'") from None
    return huggingface_hub


@contextlib.contextmanager
def _one_line_errors(repository: str) -> Iterator[None]:
    """Whatever the library raises, as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:  # of the library, of its HTTP client, of the system
        raise UserError(f"{repository}: the hub says: {first_line(e)}") from e

"""The files of a bundle, from a folder or a zip archive, read so that a stranger's can do no harm.

A bundle is flat: no folders, no links, few files, of plain names. Nothing is unpacked onto the
disk; each file is read once, and what was read is what is checked and used.
"""

import contextlib
import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medjax.errors import UserError
from medjax.train.record import write_bytes

LIMIT_BYTES = 4 * 2**30
_MOST = 32  # files
_DIRECTORY_BYTES = 2**16  # of an archive's list of them
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WHEN = (1980, 1, 1, 0, 0, 0)  # of every file in an archive: the same contents make the same bytes
_SEAL = b"medjax bundle, sha256 of all before: "


def read(path: Path, *, limit_bytes: int = LIMIT_BYTES) -> dict[str, bytes]:
    """The contents by name.

    Args:
      limit_bytes: of the archive and of all files together.

    Raises:
      UserError: if it is no flat folder or zip archive of regular files, or too large.
    """
    if path.is_dir():
        files = _from_folder(path, limit_bytes)
    elif path.is_file():
        files = _from_zip(path, limit_bytes)
    else:
        raise UserError(f"{path}: no such folder or file")
    if not files:
        raise UserError(f"{path}: is empty")
    return files


def _from_folder(path: Path, limit: int) -> dict[str, bytes]:
    names = sorted(os.listdir(path))
    check_names(path, names)
    out: dict[str, bytes] = {}
    for name in names:
        out[name] = _regular(path / name, limit - sum(map(len, out.values())))
    return out


def _regular(path: Path, limit: int) -> bytes:
    """The contents of a regular file that is no link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as e:
        why = "a link" if path.is_symlink() else e.strerror
        raise UserError(f"{path}: {why}; a bundle has regular files only") from None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise UserError(f"{path}: no regular file; a bundle has no folders or devices")
        if facts.st_size > limit:
            raise too_large(path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(facts.st_size)


def _from_zip(path: Path, limit: int) -> dict[str, bytes]:
    return unzip_files(_regular(path.resolve(), limit), name=path, limit_bytes=limit)


def unzip_files(
    content: bytes, *, name: str | Path, limit_bytes: int = LIMIT_BYTES
) -> dict[str, bytes]:
    """The contents of an archive by name; errors as of `read`, which begin with `name`."""
    path = Path(name)
    _check_seal(path, content)
    _check_directory(path, content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            check_names(path, [e.filename for e in entries])
            for entry in entries:
                _check_entry(path, entry)
            if sum(e.file_size for e in entries) > limit_bytes:
                raise too_large(path)
            return {e.filename: _entry(archive, e) for e in entries}
    except UserError:
        raise
    except Exception as e:  # zipfile, zlib and struct each have exceptions of their own
        raise UserError(f"{path}: no readable zip archive, or a damaged one ({e})") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """No more than it says to hold; its check sum is tested at its end."""
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename} has another size than it says")
    return content


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.is_dir() or kind not in (0, stat.S_IFREG):
        raise UserError(
            f"{path}: {entry.filename} is a link or folder; a bundle has regular files only"
        )
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{path}: {entry.filename} is encrypted, or compressed in an odd way")


def check_names(path: Path, names: list[str]) -> None:
    """Raises UserError unless these are few plain names, each once."""
    if len(names) > _MOST:
        raise UserError(f"{path}: holds {len(names)} files; a bundle has {_MOST} at most")
    if len({n.lower() for n in names}) < len(names):
        raise UserError(f"{path}: two files have one name")
    odd = next((n for n in names if not _NAME.fullmatch(n)), None)
    if odd is not None:
        raise UserError(f"{path}: {odd[:80]!r} is no name of a file in a bundle, which is flat")


def too_large(path: Any) -> UserError:
    """The error for what exceeds the limit."""
    return UserError(f"{path}: larger than `limit_gb` allows; raise it if you trust the source")


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes an archive where the name ends in .zip, else a folder."""
    (write_zip if path.suffix == ".zip" else write_folder)(path, files)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes all or nothing: beside, then renamed. The folder must not exist."""
    partial_path = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_folder(partial_path)  # of a process that was killed
    partial_path.mkdir()
    try:
        for name, content in files.items():
            write_bytes(partial_path / name, content)
        partial_path.rename(path)
    except BaseException:
        remove_folder(partial_path)
        raise


def remove_folder(folder: Path) -> None:
    """Removes a folder of files that was left half-written; nothing else, and follows no link."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{folder}: holds {path.name}, which no bundle has; remove it yourself")
        path.unlink()
    folder.rmdir()


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes all or nothing; the same files make the same bytes."""
    content = zip_files(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def zip_files(files: Mapping[str, bytes]) -> bytes:
    """An archive as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), content)
        archive.comment = _SEAL + b"0" * 64  # as long as it will be
    before = buffer.getvalue()[: -64 - len(_SEAL)]
    return before + _SEAL + hashlib.sha256(before).hexdigest().encode()


def _check_directory(path: Path, content: bytes) -> None:
    """Raises UserError if the list of files is long: reading it takes memory first."""
    end = _end_record(path, content)
    size = int.from_bytes(content[end + 12 : end + 16], "little")
    if content[max(end - 20, 0) : max(end - 16, 0)] == b"PK\6\7":  # the form for large archives
        large = end - 20 - 56  # its record stands right before, wherever others may seem to be
        if large < 0 or content[large : large + 4] != b"PK\6\6":
            raise UserError(f"{path}: a damaged zip archive")
        size = int.from_bytes(content[large + 40 : large + 48], "little")
    if size > _DIRECTORY_BYTES:
        raise UserError(f"{path}: holds too many files; a bundle has {_MOST} at most")


def _end_record(path: Path, content: bytes) -> int:
    """Where the last record stands: before a comment that fills the rest, and nowhere else.

    Its bytes may also stand in a file or in the comment.
    """
    for length in (0, len(_SEAL) + 64):
        at = len(content) - 22 - length
        if (
            at >= 0
            and content[at : at + 4] == b"PK\5\6"
            and (int.from_bytes(content[at + 20 : at + 22], "little") == length)
        ):
            return at
    raise UserError(
        f"{path}: no zip archive as medjax or a zip program without comment writes it, "
        "or a damaged one"
    )


def _check_seal(path: Path, content: bytes) -> None:
    """The comment of an archive that `write_zip` wrote says what all before it has to be; one that
    was zipped by other means has no comment."""
    before, tail = content[: -64 - len(_SEAL)], content[-64 - len(_SEAL) :]
    if tail == _SEAL + hashlib.sha256(before).hexdigest().encode():
        return
    if not content.startswith(b"PK"):
        raise UserError(f"{path}: no bundle: neither a folder nor a .zip archive")
    with_comment = content[-22:-18] != b"PK\5\6"  # else the end record is the last thing
    if with_comment:
        raise UserError(f"{path}: damaged; its contents do not have the check sum that it carries")

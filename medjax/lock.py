"""One process at a time."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from medjax.errors import UserError

_NONE = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # no such lock here


@contextlib.contextmanager
def hold(path: Path, *, wait: bool) -> Iterator[bool]:
    """Locks a file (made if need be); the kernel unlocks it if the process is killed.

    By `flock`, or where the file system has none by `lockf`, which others have.

    Args:
      wait: until whoever holds it lets go; else gives False at once if someone does.

    Raises:
      UserError: if the file system has neither, or another thing stands there.
    """
    if path.is_symlink() or path.is_dir():
        raise UserError(f"{path}: is a link or a folder where a lock belongs; remove it")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        yield _locked(descriptor, path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    finally:
        os.close(descriptor)


def _locked(descriptor: int, path: Path, operation: int) -> bool:
    locks: list[Callable[[int, int], None]] = [fcntl.flock, fcntl.lockf]
    for lock in locks:
        try:
            lock(descriptor, operation)
            return True
        except OSError as e:
            if e.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if e.errno not in _NONE:
                raise
            why = e.strerror
    raise UserError(
        f"{path}: cannot be locked ({why}); choose a folder on another file system, "
        "such as one of this machine, by `workdir` or `cache_dir`"
    )

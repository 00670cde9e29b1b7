"""Exceptions that mean that the user gave us something wrong, or that a program is to end."""

import difflib
from collections.abc import Iterable

_FEW = 12  # names that a line holds


class UserError(Exception):
    """A mistake that the user can mend; `app.run` prints it as one line, without a traceback.

    What others wrote (names in a file, errors of a decoder) may have more lines, or characters that
    steer a terminal: none of them are left.
    """

    def __init__(self, message: str):
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else "?" for c in line))


class ExitError(Exception):
    """A program has said why it ends, and with which exit code; `app.run` exits with it."""

    def __init__(self, code: int):
        super().__init__(f"ended with exit code {code}")
        self.code = code


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """An error for a name that is not in `known`: with the three nearest, or with some of all."""
    names = sorted(name for name in known if name)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    some = ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {some}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def check_own_name(kind: str, name: str, *, taken: Iterable[str]) -> None:
    """Raises UserError unless something of one's own can be registered under this name."""
    if not name.isidentifier() or name in taken:
        raise UserError(f"{kind} {name!r}: a name of medjax's, or no identifier; choose another")


def first_line(error: BaseException) -> str:
    """What an error of another library says, in short; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

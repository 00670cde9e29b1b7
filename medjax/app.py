"""Flags from a dataclass, and what a process needs before it starts. The only file with flags."""

import contextlib
import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags, logging

from medjax import runtime, usage
from medjax.config import (
    Leaf,
    check_ranges,
    list_settings,
    remember_given,
    replace_settings,
)
from medjax.errors import ExitError, UserError, unknown
from medjax.runtime import STOPPED

Config = TypeVar("Config")
_DISK = {  # what a user can mend, and how
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "; free space, or choose another folder to write into",
    ),
    **dict.fromkeys((errno.EACCES, errno.EROFS, errno.EPERM), "; choose another folder"),
    errno.ENAMETOOLONG: "; choose a shorter name",
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ELOOP), ""),
}
_NO_MEMORY = (
    "the memory does not suffice; make smaller what is large: --batch, --seeds, the size "
    "of images, the network"
)
_ELSEWHERE = {  # what other programs call our flags
    "lr": "learning_rate",
    "batch_size": "batch",
    "bs": "batch",
    "epochs": "steps",
    "num_epochs": "steps",
    "iterations": "steps",
    "wd": "weight_decay",
    "license": "licence",
    "output": "workdir",
    "output_dir": "workdir",
    "out": "workdir",
    "data": "data_dir",
    "data_path": "data_dir",
    "img_size": "image_size",
    "size": "image_size",
    "input_size": "image_size",
    "arch": "model",
    "network": "model",
    "pretrained": "init_from",
    "weights": "init_from",
    "optim": "optimizer",
    "amp": "dtype",
    "precision": "dtype",
    "gamma": "discount",
}
_KINDS: dict[Any, Callable] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def run(main: Callable[[Any], Any], config: type, argv: Sequence[str] = ()) -> None:
    """Parses the flags that `config`'s fields are, and calls `main(config)`.

    `argv` is the name of the program and its arguments; empty: those of the process.

    A `UserError` ends the process with one line and exit code 2, a full or read-only disk and too
    little memory likewise with 1.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - of a caller that closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few characters
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # files are closed
    runtime.use_host(Process())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are none of the user's
    logging.set_verbosity(logging.FATAL)  # orbax logs a traceback of errors that it raises as well
    sys.unraisablehook = _report_unraisable
    spec = sys.modules["__main__"].__spec__
    program = f"python -m {spec.name}" if spec else Path(sys.argv[0]).name
    name, *arguments = argv or [program, *sys.argv[1:]]
    try:
        main(parse(config, [name, *arguments], name))
    except UserError as e:
        _leave(name_flags(str(e), config), 2)
    except ExitError as e:
        sys.exit(e.code)
    except BrokenPipeError:  # as of `| head`: nobody reads on
        os._exit(141)
    except OSError as e:
        if e.errno not in _DISK:
            raise
        _leave(f"{e.filename or 'the disk'}: {e.strerror}{_DISK[e.errno]}", 1)
    except (MemoryError, RuntimeError) as e:  # the second as of JAX
        if isinstance(e, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(e):
            raise
        _leave(_NO_MEMORY, 1)
    except KeyboardInterrupt:
        goes_on = any(leaf.name == "workdir" for leaf in list_settings(config))
        _leave(
            "interrupted" + "; the same command goes on from the newest checkpoint" * goes_on, 130
        )


def _leave(line: str, code: int) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    # Threads of a checkpoint library may still hold the interpreter open; nothing is left to do.
    sys.stdout.flush()
    os._exit(code)


def name_flags(message: str, config: type) -> str:
    """A message that names options, as `` `batch=4` ``, in the words of a command line."""
    flags_here = {leaf.name for leaf in list_settings(config)}

    def as_flag(option: re.Match[str]) -> str:
        return f"--{option[1]}{option[2] or ''}" if option[1] in flags_here else option[0]

    return re.sub(r"`(\w+)(=[^`]*)?`", as_flag, message)


def parse(config: type[Config], argv: list[str], name: str) -> Config:
    """The config that the command line asks for; prints and exits on `--help`."""
    values = flags.FlagValues()
    known_settings = list(list_settings(config))
    for leaf in known_settings:
        _define(leaf, values)
    flags.DEFINE_bool("help", False, "the common flags", flag_values=values, short_name="h")
    flags.DEFINE_bool("helpfull", False, "all flags", flag_values=values)
    try:
        rest = values(argv)
    except flags.UnrecognizedFlagError as e:
        known = _ELSEWHERE.get(e.flagname, "")
        if known in values:
            raise UserError(f"unknown flag '--{e.flagname}': did you mean --{known}?") from None
        raise unknown("flag", f"--{e.flagname}", [f"--{f}" for f in values]) from None
    except flags.Error as e:
        plain = re.sub(
            r"invalid literal for int\(\).*|could not convert .*", "give a number", str(e)
        )
        plain = re.sub(r"\('Non-boolean argument.*", "give true or false", plain)
        raise UserError(plain) from None
    if values["help"].value or values["helpfull"].value:
        summary = sys.modules[config.__module__].__doc__ or ""
        print(usage.describe(config, name, summary, full=bool(values["helpfull"].value)))
        sys.exit(0)
    _take_words(rest[1:], known_settings, values)
    parsed = {leaf.name: _from_flag(leaf, values[leaf.name].value) for leaf in known_settings}
    made = replace_settings(config(), **parsed)
    check_ranges(made)
    return remember_given(made, [name for name in parsed if values[name].present])


def _take_words(words: list[str], settings: Sequence[Leaf], values: flags.FlagValues) -> None:
    """Gives the words without a flag to the settings that take some; raises UserError where there
    is none left. Who names images so wants the other settings to follow from them (`auto`)."""
    takers = [leaf for leaf in settings if leaf.field.metadata["positional"]]
    for leaf in takers:
        if words and isinstance(leaf.default, tuple):
            values[leaf.name].value, words = words, []
        elif words and not values[leaf.name].present:
            values[leaf.name].value, words = words[0], words[1:]
            if "auto" in values and not values["auto"].present:
                values["auto"].value = True
    if words:
        named = " and ".join(f"--{leaf.name}" for leaf in takers)
        only = f"only {named} may be given without a name; " if takers else ""
        raise UserError(
            f"unexpected: {', '.join(map(repr, words))}; {only}give flags as --name=value"
        )


def _define(leaf: Leaf, values: flags.FlagValues) -> None:
    text = leaf.field.metadata["help"]
    if isinstance(leaf.default, tuple):
        flags.DEFINE_list(leaf.name, [str(v) for v in leaf.default], text, flag_values=values)
    else:
        _KINDS[type(leaf.default)](leaf.name, leaf.default, text, flag_values=values)


def _from_flag(leaf: Leaf, value: Any) -> Any:
    metadata = leaf.field.metadata
    if metadata["choices"] and value not in metadata["choices"]:
        raise unknown(f"value of --{leaf.name}", value, metadata["choices"])
    if not isinstance(leaf.default, tuple):
        return os.path.expanduser(value) if metadata["path"] else value
    try:
        return tuple(metadata["item"](v) for v in value)
    except ValueError:
        raise UserError(
            f"--{leaf.name}={','.join(value)}: entries must be {metadata['item'].__name__}"
        ) from None


def _report_unraisable(unraisable: Any) -> None:
    """As Python does, but for what tensorstore's threads say after a save that failed: the event
    loop that orbax closed. The failure itself is an error of its own."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class Process(runtime.Host):
    """A process that belongs to one run.

    Once SIGTERM has come the run saves and ends; a second one ends it at once. Python notices a
    signal between two of its own steps, which a compiler does not take: while `at_once` holds, a
    thread ends the process instead, as there is nothing to save.
    """

    def __init__(self) -> None:
        self._came, self._nothing_to_save = False, ""

    def watch_signals(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        signal.signal(signal.SIGTERM, self._note)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before != -1:  # of another run in this process, whose thread then ends
            os.close(before)

    def _note(self, number: int, frame: Any) -> None:
        self._came = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _watch(self, read: int) -> None:
        count = 0
        while number := os.read(read, 1):
            count += number[0] == signal.SIGTERM
            if count and self._nothing_to_save:
                print(
                    f"\nstopped by SIGTERM while {self._nothing_to_save}; the same command "
                    "begins again",
                    flush=True,
                )
                os._exit(STOPPED)
            if count > 1:  # a compiler may hold the thread that would notice
                print(
                    "\nstopped by a second SIGTERM; the same command goes on from the newest "
                    "checkpoint",
                    flush=True,
                )
                os._exit(STOPPED)

    @contextlib.contextmanager
    def at_once(self, doing: str) -> Iterator[None]:
        if self._came:
            raise ExitError(STOPPED)
        self._nothing_to_save = doing
        try:
            yield
        finally:
            self._nothing_to_save = ""

    def stopping(self) -> bool:
        return self._came

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        with contextlib.redirect_stdout(io.StringIO()):
            yield

    def silence(self) -> None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives

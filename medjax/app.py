"""Flags from a dataclass, and what a process needs before it starts. The only file with flags."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from absl import flags

from medjax import lock, schema
from medjax.errors import UserError, first_line, unknown
from medjax.train.record import plain, write_json

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
STOPPED = 75  # exit code of a run that SIGTERM has stopped: not done, and the same command goes on
_LOCK = ".lock"
_ELSEWHERE = {  # what other programs call our flags
    "lr": "learning_rate",
    "batch_size": "batch",
    "bs": "batch",
    "epochs": "steps",
    "num_epochs": "steps",
    "iterations": "steps",
    "wd": "weight_decay",
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
    "resume": "workdir",
    "amp": "dtype",
    "precision": "dtype",
    "gamma": "discount",
}
_YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
_YNN_RELEASES = ("0.10.", "0.12.")
_KINDS: dict[Any, Callable] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def option(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    item: type = str,
    free: bool = False,
    path: bool = False,
    grows: bool = False,
) -> Any:
    """A field of an experiment's config.

    Args:
      default: the value where the flag is not given; a tuple becomes a comma-separated flag.
      text: what `--help` says.
      choices: the values that a string may take.
      item: what the entries of a tuple are.
      free: may differ when a run is resumed, since results do not depend on it.
      path: a file or folder, in which `~` is that of the user.
      grows: may be larger when a run is resumed.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": text,
            "choices": choices,
            "item": item,
            "free": free,
            "path": path,
            "grows": grows,
        },
    )


def run(main: Callable[[Any], None], config: type) -> None:
    """Parses the flags that `config`'s fields are, and calls `main(config)`.

    A `UserError` ends the process with one line and exit code 2, a full or read-only disk and too
    little memory likewise with 1.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - of a caller that closed it
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that knows few characters
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # files are closed
    program = sys.modules["__main__"].__spec__
    name = program.name if program else Path(sys.argv[0]).name
    try:
        main(parse(config, sys.argv, name))
    except UserError as e:
        _leave(str(e), 2)
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
        goes_on = any(f.name == "workdir" for f in dataclasses.fields(config))
        _leave(
            "interrupted" + "; the same command goes on from the newest checkpoint" * goes_on, 130
        )


def _leave(line: str, code: int) -> None:
    print(f"error: {line}", file=sys.stderr, flush=True)
    # Threads of a checkpoint library may still hold the interpreter open; nothing is left to do.
    sys.stdout.flush()
    os._exit(code)


def parse(config: type[Config], argv: list[str], name: str) -> Config:
    """The config that the command line asks for; prints and exits on `--help`."""
    values = flags.FlagValues()
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        _define(field, values)
    flags.DEFINE_bool("help", False, "show this", flag_values=values, short_name="h")
    try:
        rest = values(argv)
    except flags.UnrecognizedFlagError as e:
        known = _ELSEWHERE.get(e.flagname, "")
        if known in values:
            raise UserError(f"unknown flag '--{e.flagname}': did you mean --{known}?") from None
        raise unknown("flag", f"--{e.flagname}", [f"--{f}" for f in values]) from None
    except flags.Error as e:
        raise UserError(str(e)) from None
    if values["help"].value:
        _print_help(config, name)
        sys.exit(0)
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    if rest[1:] and "files" in values:  # what stands without a flag, or behind --
        values["files"].value = rest[1:]
    elif rest[1:]:
        raise UserError(f"{rest[1]!r}: flags are given as --name=value")
    return config(**{f.name: _from_flag(f, values[f.name].value) for f in fields})


def _define(field: dataclasses.Field, values: flags.FlagValues) -> None:
    text = field.metadata["help"]
    if isinstance(field.default, tuple):
        flags.DEFINE_list(field.name, [str(v) for v in field.default], text, flag_values=values)
    else:
        _KINDS[type(field.default)](field.name, field.default, text, flag_values=values)


def _from_flag(field: dataclasses.Field, value: Any) -> Any:
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise unknown(f"value of --{field.name}", value, choices)
    if not isinstance(field.default, tuple):
        return os.path.expanduser(value) if field.metadata["path"] else value
    try:
        return tuple(field.metadata["item"](v) for v in value)
    except ValueError:
        raise UserError(
            f"--{field.name}={','.join(value)}: entries must be {field.metadata['item'].__name__}"
        ) from None


def _print_help(config: type, name: str) -> None:
    summary = (sys.modules[config.__module__].__doc__ or "").strip()
    print(f"{summary}\n\nFlags of {name}:")
    for field in dataclasses.fields(config):
        default = (
            ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        )
        known = f" ({' | '.join(field.metadata['choices'])})" if field.metadata["choices"] else ""
        print(f"  --{field.name}={default}\n      {field.metadata['help']}{known}")


def check_workdir(folder: Path, experiment: str, config: Any, **facts: Any) -> None:
    """Raises UserError if the folder holds another experiment or other settings, or other files.

    Fields marked `free` may differ: results do not depend on them. `facts` are what else results
    depend on, as far as it is known yet.
    """
    path = folder / "config.json"
    if not path.exists():
        ours = (_LOCK, f"{path.name}.part")  # what a process leaves that was killed at its start
        if folder.exists() and any(f.name not in ours for f in folder.iterdir()):
            raise UserError(f"--workdir={folder}: not empty, and no run of medjax; choose another")
        return
    try:
        old = json.loads(path.read_text())
        if not isinstance(old, dict):
            raise ValueError
    except ValueError:
        raise UserError(f"{path}: not readable; choose another --workdir") from None
    new = _described(experiment, config, facts)
    free = {f.name for f in dataclasses.fields(config) if f.metadata["free"]}
    keys = (set(old) | set(new) if facts else set(new)) - free - _grown(config, old)
    before, now = (schema.flat({k: v[k] for k in keys if k in v}) for v in (old, new))
    differ = [
        f"{k} was {before.get(k)!r}, is {now.get(k)!r}"
        for k in sorted(before | now)
        if before.get(k) != now.get(k)
    ]
    if differ:
        raise UserError(
            f"--workdir={folder} holds a run with other settings: {'; '.join(differ)}; "
            "choose another --workdir or the same settings"
        )


def _grown(config: Any, old: dict[str, Any]) -> set[str]:
    """The fields that may grow, and have."""
    grown = {
        f.name
        for f in dataclasses.fields(config)
        if f.metadata["grows"]
        and isinstance(old.get(f.name), int)
        and old[f.name] < getattr(config, f.name)
    }
    for name in grown:
        print(
            f"--{name} grows from {old[name]} to {getattr(config, name)}; schedules are those of "
            "the new number from here on"
        )
    return grown


@contextlib.contextmanager
def open_workdir(folder: Path, experiment: str, config: Any, **facts: Any) -> Iterator[None]:
    """Makes the work directory and writes `config.json`, once everything else is known to be good.

    While it is open no other process can open it.

    Raises:
      UserError: as `check_workdir`, or if another process is at work in it.
    """
    from medjax.train import mesh  # imports jax: not for --help

    if not mesh.is_first():  # the first checks and holds it for all
        yield
        return
    check_workdir(folder, experiment, config, **facts)
    folder.mkdir(parents=True, exist_ok=True)
    # A file, since of a folder other machines would not know.
    with lock.hold(folder / _LOCK, wait=False) as held:
        if not held:
            raise UserError(
                f"--workdir={folder}: another process is at work in it; wait until it "
                "has ended, or choose another"
            )
        write_json(folder / "config.json", _described(experiment, config, facts))
        yield


def _described(experiment: str, config: Any, facts: dict) -> dict:
    return {"experiment": experiment, **plain(dataclasses.asdict(config)), **plain(facts)}


def fast_cpu() -> None:
    """Has XLA's CPU backend compute convolutions by YNNPACK; call it before JAX computes anything.

    A training step of ResNet-18 at 28 pixels is then more than twice as fast (kernel gradients
    most of all). XLA ends the process for a flag that it does not know, and the flag's name says
    experimental: so it is set for the releases only that it was tried with.
    """
    import jaxlib

    given = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith(_YNN_RELEASES) and "_ynn_" not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_YNN}"


def setup(cache_dir: Path) -> None:
    """Switches on the persistent compilation cache, in `cache_dir`, and quiets the libraries."""
    import jax
    from absl import logging

    fast_cpu()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's warnings are none of the user's
    logging.set_verbosity(logging.FATAL)  # orbax logs a traceback of errors that it raises as well

    sys.unraisablehook = _report_unraisable
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache_dir / "compilation")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def check_device() -> None:
    """Raises UserError if JAX finds no device, as of a platform that JAX_PLATFORMS wishes for."""
    import jax

    try:
        jax.devices()
    except Exception as e:  # of plugins that fail, or, without words, where there is none
        wish = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"no device to compute on{f' (JAX_PLATFORMS={wish})' if wish else ''}: "
            f"{first_line(e) if str(e) else 'JAX finds none of that kind'}"
        ) from None


def join() -> None:
    """Makes this process one of several, where whoever launched it says so; only the first prints.

    By JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID (`launch/` sets them), as a
    task of a Slurm step, or with MEDJAX_JOIN=1 however else JAX finds out (TPU pods).
    """
    import jax

    env = os.environ
    named = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    place: dict[str, Any] = {}
    if all(name in env for name in named):
        place = {
            "coordinator_address": env[named[0]],
            "num_processes": int(env[named[1]]),
            "process_id": int(env[named[2]]),
        }
    elif not (int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1 or env.get("MEDJAX_JOIN") == "1"):
        return
    if jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours: see `StopSignal`
    try:
        jax.distributed.initialize(
            **place,
            initialization_timeout=int(env.get("MEDJAX_JOIN_SECONDS", "300")),
            heartbeat_timeout_seconds=60,
            shutdown_timeout_seconds=3600,
        )  # the first is still writing the report
    except Exception as e:  # of gRPC, of the cluster detection, of the runtime
        raise UserError(f"could not join the other processes: {first_line(e)}") from e
    if jax.process_index() > 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives


def _report_unraisable(unraisable: Any) -> None:
    """As Python does, but for what tensorstore's threads say after a save that failed: the event
    loop that orbax closed. The failure itself is an error of its own."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class StopSignal:
    """True once SIGTERM has come; the run then saves and ends. A second one ends it at once.

    Python notices a signal between two of its own steps, which a compiler does not take: while
    `at_once` holds, a thread ends the process instead, as there is nothing to save.
    """

    def __init__(self) -> None:
        self._came, self._nothing_to_save = False, ""
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
        """While it lasts, SIGTERM ends the process."""
        if self._came:
            sys.exit(STOPPED)
        self._nothing_to_save = doing
        try:
            yield
        finally:
            self._nothing_to_save = ""

    def __call__(self) -> bool:
        return self._came

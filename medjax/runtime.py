"""What a process needs before it computes: caches, devices, other processes, an end by signal."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medjax import native
from medjax.errors import UserError, first_line

COMPILED = "compilation"  # the folder of a cache that has compiled programs
FEATURES = "features"  # of images, by networks that stay as they are
SETS = "datasets"
WRITTEN = (COMPILED, FEATURES, SETS, "native", "subject.key")  # all that a cache holds
STOPPED = 75  # exit code of a run that SIGTERM has stopped: not done, and the same command goes on


_YNN = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"


_YNN_RELEASES = ("0.10.", "0.12.")


def fast_cpu() -> None:
    """Has XLA's CPU backend use YNNPACK for convolutions, and keep its memory.

    Call it before JAX computes anything.

    A training step of ResNet-18 at 28 pixels is then more than twice as fast (kernel gradients
    most of all). XLA ends the process for a flag that it does not know, and the flag's name says
    experimental: so it is set for the releases only that it was tried with.
    """
    import jaxlib

    given = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith(_YNN_RELEASES) and "_ynn_" not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_YNN}"
    _keep_memory()


def _keep_memory() -> None:
    """Has the C library keep freed memory, up to 2 GB, for what is allocated next.

    Every call of a program allocates its arrays anew. By default glibc hands large ones back to the
    system at once, and each page that comes again is cleared first: an elementwise operation on
    66 MB took 21 ms so, and takes 7 ms.
    """
    mmap_max, trim_threshold, top_pad, arena_max = -4, -1, -2, -8  # as in malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 * 2**20)
        mallopt(arena_max, 1)  # those of further threads would keep no more than 64 MB


def setup(cache_dir: Path) -> None:
    """Switches on what `cache_dir` keeps between runs: compiled programs and convolutions."""
    import jax

    fast_cpu()
    native.load(native.library_path(cache_dir))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache_dir / COMPILED)
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
    per_task = env.get("SLURM_GPUS_PER_TASK", "")  # such as 4, or a100:4
    if not place and per_task:  # then a task sees its own alone; JAX would take the first
        place = {"local_device_ids": list(range(int(per_task.split(":")[-1])))}
    jax.config.update("jax_enable_preemption_service", False)  # SIGTERM is ours: see `app`
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
        host().silence()


def cores() -> int:
    """Of this machine, those that the process may use."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux's
    return len(usable(0)) if usable else os.cpu_count() or 1


class Host:
    """What the library runs in: here, a notebook or another program, whose own signals and output
    stay as they are. `app.run` puts a process of its own in its place."""

    def watch_signals(self) -> None:
        """From here on, SIGTERM means that a run is to save and end."""

    def stopping(self) -> bool:
        """Whether a run is to save and end."""
        return False

    @contextlib.contextmanager
    def at_once(self, doing: str) -> Iterator[None]:
        """While it lasts there is nothing to save: SIGTERM ends the process."""
        yield

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """While it lasts, what other libraries print is held back."""
        yield

    def silence(self) -> None:
        """Nothing is printed from here on: another process does."""


_hosts = [Host()]


def host() -> Host:
    """What this process is."""
    return _hosts[0]


def use_host(new: Host) -> None:
    """Puts another in its place."""
    _hosts[:] = [new]

"""One experiment as several processes of this machine, as if they were several machines.

    python -m launch.local --processes=2 --devices=4 -- python -m experiments.classify --batch=64

On a CPU each process gets so many devices of XLA's (`--devices`); on a machine with GPUs give
`--gpus=1`, and each gets so many of them. Every line is told with the number of its process. When
one process ends with an error or is killed, the others are ended too, and the exit code is not 0;
the same command then goes on from the newest checkpoint.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from medjax import app, runtime
from medjax.config import option
from medjax.errors import UserError

_EXPECTED = (None, 0, runtime.STOPPED)
GRACE_SECONDS = 10.0  # for a process to end by itself, when another has failed


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags. What follows -- is the command."""

    files: tuple[str, ...] = option((), "the command that each process runs", positional=True)
    processes: int = option(2, "how many")
    devices: int = option(1, "CPU: devices of each process")
    gpus: int = option(0, "GPUs of each process; 0: none are asked for")


def main(config: Config) -> None:
    for name in ("processes", "devices"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name}={getattr(config, name)}: must be at least 1")
    if config.gpus < 0:
        raise UserError(f"--gpus={config.gpus}: must not be negative")
    if not config.files:
        raise UserError("give the command after --, as in: -- python -m experiments.classify")
    address = f"127.0.0.1:{free_port()}"
    started = [
        start(config.files, environment(config, number, address), number)
        for number in range(config.processes)
    ]
    sys.exit(watch(started))


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(config: Config, number: int, address: str) -> dict[str, str]:
    """What tells a process which one it is; see `medjax.runtime.join`."""
    place = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(config.processes),
        "JAX_PROCESS_ID": str(number),
        "PYTHONUNBUFFERED": "1",
    }
    if config.gpus:
        first = number * config.gpus
        given = os.environ.get("CUDA_VISIBLE_DEVICES")  # a scheduler may have given us some only
        every = given.split(",") if given else list(map(str, range(first + config.gpus)))
        mine = every[first : first + config.gpus]
        if len(mine) < config.gpus:
            raise UserError(
                f"--gpus={config.gpus}: CUDA_VISIBLE_DEVICES={given} has too few for "
                f"{config.processes} processes"
            )
        return {**os.environ, **place, "CUDA_VISIBLE_DEVICES": ",".join(mine)}
    flags = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={config.devices}"
    )
    # XLA has as many threads as cores or devices. A device that waits for the others holds one;
    # with none left for a device they wait for, all would give up after Gloo's 30 seconds.
    threads = str(runtime.cores() + 2 * config.devices)
    on_cpu = {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    return {"NPROC": threads, **os.environ, **place, **on_cpu}


def start(command: Sequence[str], env: dict[str, str], number: int) -> subprocess.Popen:
    """A process whose lines are told as its own."""
    try:
        process = subprocess.Popen(
            command,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            start_new_session=True,
        )  # it is told by us, and once
    except OSError as e:
        raise UserError(f"{command[0]}: {e.strerror}") from None

    def tell() -> None:
        for line in process.stdout or ():
            print(f"{number}| {line}", end="", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    process.teller = teller  # type: ignore[attr-defined]
    return process


def watch(started: list[subprocess.Popen]) -> int:
    """Waits for all; when one fails or is asked to stop, so are the others."""

    def stop(number: int, frame: object) -> None:
        for process in started:
            process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    bad = None
    running = True
    while running and bad is None:
        time.sleep(0.1)
        running = any(p.poll() is None for p in started)  # one may have ended before the first look
        failed = [i for i, p in enumerate(started) if p.poll() not in _EXPECTED]
        # One that was killed pulls others down before we look: it is the one to name.
        bad = min(failed, key=lambda i: started[i].returncode >= 0, default=None)
    if bad is not None:
        print(
            f"error: process {bad} {describe_exit(started[bad].returncode)}; ending the others. "
            "The same command goes on from the newest checkpoint",
            file=sys.stderr,
            flush=True,
        )
        end(started)
    for process in started:
        process.teller.join(timeout=5)  # type: ignore[attr-defined]
    worst = next((p.returncode for p in started if p.returncode), 0)
    code = worst if bad is None else started[bad].returncode
    return code if code >= 0 else 128 - code


def end(started: list[subprocess.Popen]) -> None:
    """Ends what still runs: waiting for one that is gone, they would never end by themselves."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(p.poll() is None for p in started):
        time.sleep(0.1)
    for process in started:
        if process.poll() is None:
            process.kill()


def describe_exit(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


if __name__ == "__main__":
    app.run(main, Config)

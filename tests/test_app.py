import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from medjax import app, runtime
from medjax.config import configure, option
from medjax.errors import UserError, unknown
from tests.conftest import ROOT


@dataclasses.dataclass(frozen=True)
class Config:
    """A config of every kind of field."""

    size: int = option(3, "how large")
    rate: float = option(0.5, "how fast")
    name: str = option("a", "which", choices=("alpha", "beta", "a"))
    deep: bool = option(False, "whether")
    axes: tuple[int, ...] = option((), "axes", item=int)
    where: str = option("here", "a place", free=True)


def parse(*arguments):
    return app.parse(Config, ["program", *arguments], "program")


def test_flags_become_fields():
    assert parse() == Config()
    assert parse("--size=7", "--rate=1e-3", "--name=beta", "--deep", "--axes=0,2") == Config(
        7, 1e-3, "beta", True, (0, 2)
    )
    assert parse("--nodeep", "--axes=").axes == ()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--sizes=1", "unknown flag '--sizes': did you mean --size"),
        ("--size=x", "size"),
        ("--name=alpa", "unknown value of --name 'alpa': did you mean alpha"),
        ("--axes=1,b", "--axes=1,b: entries must be int"),
        ("stray", "unexpected: 'stray'; give flags as --name=value"),
    ],
)
def test_bad_flags_are_told(argument, message):
    with pytest.raises(UserError, match=message):
        parse(argument)


@dataclasses.dataclass(frozen=True)
class Usual:
    """The flags that other programs call otherwise."""

    learning_rate: float = option(0.1, "x")
    batch: int = option(1, "x")
    steps: int = option(5, "x", grows=True)
    eval_only: bool = option(False, "x", free=True)
    workdir: str = option("", "x", path=True)


@pytest.mark.parametrize(
    ("given", "ours"),
    [("lr", "learning_rate"), ("batch_size", "batch"), ("epochs", "steps"), ("output", "workdir")],
)
def test_names_of_other_programs_are_understood(given, ours):
    with pytest.raises(UserError, match=rf"unknown flag '--{given}': did you mean --{ours}\?"):
        app.parse(Usual, ["p", f"--{given}=1"], "p")


def test_three_suggestions_and_not_sixty():
    known = [f"flag{i}" for i in range(60)]
    text = str(unknown("flag", "flagg1", known))
    assert text.count("flag") <= 6
    assert len(text) < 200


def test_the_users_folder():
    there = os.path.expanduser("~/x")
    assert app.parse(Usual, ["p", "--workdir=~/x"], "p").workdir == there
    assert configure(Usual, workdir="~/x").workdir == there


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as left:
        parse("--help")
    assert left.value.code == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name}=" in out
        assert field.metadata["help"] in out


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        ("errors.UserError('--x: wrong')", 2, "error: --x: wrong"),
        (
            f"OSError({errno.ENOSPC}, 'No space left on device', '/full')",
            1,
            "error: /full: No space left on device; free space",
        ),
        (
            f"PermissionError({errno.EACCES}, 'Permission denied', '/locked')",
            1,
            "error: /locked: Permission denied",
        ),
        (
            f"OSError({errno.ENAMETOOLONG}, 'File name too long', '/aaa')",
            1,
            "error: /aaa: File name too long; choose a shorter name",
        ),
        (
            "MemoryError()",
            1,
            "error: the memory does not suffice; make smaller what is large: --batch",
        ),
        (
            "RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.')",
            1,
            "error: the memory does not suffice",
        ),
        ("KeyboardInterrupt()", 130, "error: interrupted\n"),
    ],
)
def test_errors_end_the_process_with_one_line(error, code, line):
    program = (
        "import dataclasses, sys\nfrom medjax import app, config, errors\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = config.option(1, 'x')\n"
        f"def main(config): raise {error}\nsys.argv = ['p']\napp.run(main, C)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", [False, True])
def test_nobody_reads_the_output(closed):
    program = (
        "import dataclasses, sys\nfrom medjax import app, config, errors\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = config.option(1, 'x')\n"
        "def main(config):\n    for _ in range(10**5): print('line', flush=True)\n"
        "sys.argv = ['p']\napp.run(main, C)"
    )
    shell = 'exec {} -c "$P" >&-' if closed else '{} -c "$P" | head -1'
    done = subprocess.run(
        ["bash", "-c", shell.format(sys.executable)],
        cwd=ROOT,
        text=True,
        env={**os.environ, "P": program},
        capture_output=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == ("" if closed else "line\n")


def test_a_real_bug_keeps_its_traceback():
    program = (
        "import dataclasses, sys\nfrom medjax import app, config, errors\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = config.option(1, 'x')\n"
        "sys.argv = ['p']\napp.run(lambda c: 1 / 0, C)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "ZeroDivisionError" in done.stderr
    assert done.returncode == 1


@contextlib.contextmanager
def started(program):
    """The process of a program that has said that it is where signals may come."""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == "now\n"
        yield process


def test_the_stop_signal():
    before = signal.getsignal(signal.SIGTERM)
    try:
        process = app.Process()
        process.watch_signals()
        assert not process.stopping()
        os.kill(os.getpid(), signal.SIGTERM)
        assert process.stopping()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_ends_what_has_nothing_to_save_at_once():
    """A compiler does not look at signals: the process ends all the same, and says so."""
    program = (
        "import ctypes, sys\nfrom medjax import app\nstop = app.Process()\nstop.watch_signals()\n"
        "with stop.at_once('compiling'):\n    print('now', flush=True)\n"
        "    ctypes.CDLL(None).usleep(20_000_000)\n    ctypes.CDLL(None).sleep(30)\n"
    )
    with started(program) as process:
        process.terminate()
        assert process.wait(timeout=5) == runtime.STOPPED
        assert "stopped by SIGTERM while compiling" in process.stdout.read()


def test_a_second_sigterm_ends_at_once_what_does_not_look_at_signals():
    program = (
        "import hashlib\nfrom medjax import app\nstop = app.Process()\nstop.watch_signals()\n"
        "print('now', flush=True)\n"  # then a minute in C, without the interpreter's lock
        "hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)\n"
    )
    with started(program) as process:
        time.sleep(1)  # until it is in C
        process.terminate()
        time.sleep(0.3)
        assert process.poll() is None
        process.terminate()
        # By whom is a matter of whether the interpreter had a turn between them.
        assert process.wait(timeout=5) in (runtime.STOPPED, -signal.SIGTERM)


def test_sigterm_closes_what_is_open():
    program = (
        "import dataclasses, sys, time\nfrom medjax import app, config\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = config.option(1, 'x')\n"
        "def main(config):\n    try:\n        print('now', flush=True)\n"
        "        time.sleep(30)\n    finally:\n        print('closed')\n"
        "sys.argv = ['p']\napp.run(main, C)"
    )
    with started(program) as process:
        process.terminate()
        assert process.wait(timeout=10) == 143
        assert process.stdout.read() == "closed\n"


@pytest.mark.parametrize(
    "command",
    [
        ["experiments.classify", "--workdir=w", "--cache_dir=c"],
        ["experiments.predict", "--bundle=b", "--input=.", "--output=w", "--cache_dir=c"],
        ["experiments.share", "show", "KEPT"],
    ],
)
def test_no_device_is_one_line(command, tmp_path):
    kept = ROOT / "tests" / "bundle" / "kept" / "format_1.zip"
    module, *flags = [
        a.replace("=", f"={tmp_path}/")
        if a[-2:] in ("=w", "=c")
        else str(kept)
        if a == "KEPT"
        else a
        for a in command
    ]
    done = subprocess.run(
        [sys.executable, "-m", module, *flags],
        cwd=ROOT,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cuda"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: no device to compute on (JAX_PLATFORMS=cuda): ")
    assert not (tmp_path / "w").exists()


def test_a_terminal_that_knows_ascii_only():
    program = (
        "import dataclasses, sys\nfrom medjax import app, config, errors\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = config.option(1, 'x')\n"
        "sys.argv = ['p']\napp.run(lambda c: print('\\u2501 done'), C)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"? done\n")


@pytest.mark.parametrize("none", ["flock", "both"])
def test_a_file_system_without_locks(tmp_path, monkeypatch, none):
    import fcntl

    from medjax import lock

    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(UserError, match="is a link or a folder where a lock belongs"),
        lock.hold(tmp_path / "link", wait=False),
    ):
        pass
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.setattr(fcntl, "flock", missing)
    if none == "flock":
        with lock.hold(tmp_path / "l", wait=False) as held:
            assert held
        return
    monkeypatch.setattr(fcntl, "lockf", missing)
    with (
        pytest.raises(UserError, match=r"cannot be locked .*choose a folder on another file"),
        lock.hold(tmp_path / "l", wait=False),
    ):
        pass


def test_unknown_names_list_what_is_known():
    assert str(unknown("thing", "zz", ["b", "a"])) == "unknown thing 'zz': known are a, b"


def test_without_auto_a_folder_chooses_nothing():
    from experiments import classify

    for given, auto in (([], True), (["--noauto"], False), (["--auto=false"], False)):
        config = app.parse(classify.Config, ["classify", "somewhere", *given], "classify")
        assert config.files.auto is auto

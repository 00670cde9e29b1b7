import dataclasses
import errno
import os
import signal
import subprocess
import sys

import pytest

from medjax import app
from medjax.errors import UserError, unknown
from tests.conftest import ROOT


@dataclasses.dataclass(frozen=True)
class Config:
    """A config of every kind of field."""

    size: int = app.option(3, "how large")
    rate: float = app.option(0.5, "how fast")
    name: str = app.option("a", "which", choices=("alpha", "beta", "a"))
    deep: bool = app.option(False, "whether")
    axes: tuple[int, ...] = app.option((), "axes", item=int)
    where: str = app.option("here", "a place", free=True)


def parse(*arguments):
    return app.parse(Config, ["program", *arguments], "program")


def test_flags_become_fields():
    assert parse() == Config()
    assert parse("--size=7", "--rate=1e-3", "--name=beta", "--deep", "--axes=0,2") == Config(
        7, 1e-3, "beta", True, (0, 2))
    assert parse("--nodeep", "--axes=").axes == ()


@pytest.mark.parametrize(("argument", "message"), [
    ("--sizes=1", "unknown flag '--sizes': did you mean --size"),
    ("--size=x", "size"),
    ("--name=alpa", "unknown value of --name 'alpa': did you mean alpha"),
    ("--axes=1,b", "--axes=1,b: entries must be int"),
    ("stray", "'stray': flags are given as --name=value"),
])
def test_bad_flags_are_told(argument, message):
    with pytest.raises(UserError, match=message):
        parse(argument)


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as left:
        parse("--help")
    assert left.value.code == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert f"--{field.name}=" in out
        assert field.metadata["help"] in out


def test_a_work_directory_holds_one_run(tmp_path):
    folder = tmp_path / "run"
    app.check_workdir(folder, "classify", Config())
    assert not folder.exists()
    with app.open_workdir(folder, "classify", Config(), data="a"):
        app.check_workdir(folder, "classify", Config(where="elsewhere"))
        with (pytest.raises(UserError, match="another process is at work in it"),
              app.open_workdir(folder, "classify", Config(), data="a")):
            pass
    with (pytest.raises(UserError, match="data was 'a', is 'b'"),
          app.open_workdir(folder, "classify", Config(), data="b")):
        pass
    with pytest.raises(UserError, match="size was 3, is 4"):
        app.check_workdir(folder, "classify", Config(size=4))
    with pytest.raises(UserError, match="experiment was 'classify', is 'other'"):
        app.check_workdir(folder, "other", Config())
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not readable"):
        app.check_workdir(folder, "classify", Config())


@pytest.mark.parametrize(("error", "code", "line"), [
    ("UserError('--x: wrong')", 2, "error: --x: wrong"),
    (f"OSError({errno.ENOSPC}, 'No space left on device', '/full')", 1,
     "error: /full: No space left on device; free space"),
    (f"PermissionError({errno.EACCES}, 'Permission denied', '/locked')", 1,
     "error: /locked: Permission denied"),
    ("KeyboardInterrupt()", 130, "error: interrupted"),
])
def test_errors_end_the_process_with_one_line(error, code, line):
    program = (
        "import dataclasses, sys\nfrom medjax import app\nfrom medjax.errors import UserError\n"
        "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = app.option(1, 'x')\n"
        f"def main(config): raise {error}\nsys.argv = ['p']\napp.run(main, C)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_a_real_bug_keeps_its_traceback():
    program = ("import dataclasses, sys\nfrom medjax import app\n"
               "@dataclasses.dataclass(frozen=True)\nclass C:\n    x: int = app.option(1, 'x')\n"
               "sys.argv = ['p']\napp.run(lambda c: 1 / 0, C)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert "ZeroDivisionError" in done.stderr
    assert done.returncode == 1


def test_the_stop_signal():
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop = app.StopSignal()
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_unknown_names_list_what_is_known():
    assert str(unknown("thing", "zz", ["b", "a"])) == "unknown thing 'zz': known are a, b"

"""What goes wrong on real machines. After each: no whole checkpoint lost, nothing silently wrong, a
message that says what happened."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.train.checkpoint import Checkpoints
from tests.conftest import ROOT
from tests.experiments.test_classify import flags, run_here
from tests.faults import saver


def run_apart(workdir, cache, **changes):
    """As a user starts it: the exit code, and all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.classify", *flags(workdir, cache, **changes)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache_dir):
    workdir = tmp_path_factory.mktemp("run") / "w"
    run_here(workdir, cache_dir)
    return workdir


@pytest.mark.slow
def test_killed_at_20_random_moments_of_saving(tmp_path):
    """It has just said which step is safe; that or a newer one is read, bit for bit."""
    rng, safe, reached = random.Random(0), 0, []
    for _ in range(20):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.saver", tmp_path / "c"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.6))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        safe = max([safe, *map(int, rest.split())])
        found = Checkpoints(tmp_path / "c", read_only=True).newest(saver.abstract())
        assert found is not None
        values, meta = found
        assert meta["step"] >= safe
        np.testing.assert_array_equal(values["w"], saver.state(meta["step"])["w"])
        reached.append(meta["step"])
    assert reached == sorted(reached) and reached[-1] > 40


def damaged(content, kind, rng):
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "empty":
        return b""
    out = bytearray(content)
    out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "share"), [("flip", 3), ("cut", 6), ("empty", 6)])
def test_every_kind_of_file_damaged(done, tmp_path, cache_dir, kind, share, capsys):
    """The report is the same again, or it is told what is wrong: nothing else.

    Each third file is damaged by a flipped bit, each sixth one by a cut and by being emptied.
    """
    before = (done / "predictions.csv").read_bytes()
    rng, outcomes = random.Random(kind), {"same": 0, "told": 0}
    files = sorted(
        p for p in done.rglob("*") if p.is_file() and p.stat().st_size and p.suffix != ".png"
    )[::share]
    for number, path in enumerate(files):
        workdir = tmp_path / str(number)
        shutil.copytree(done, workdir)
        target = workdir / path.relative_to(done)
        target.write_bytes(damaged(path.read_bytes(), kind, rng))
        try:
            run_here(workdir, cache_dir)
        except UserError as e:
            assert "\n" not in str(e), (path, str(e))
            outcomes["told"] += 1
        else:
            same = (workdir / "predictions.csv").read_bytes() == before
            told = "damaged" in capsys.readouterr().out  # then an older checkpoint was read
            assert same or told, f"{path} damaged ({kind}), and nobody is told"
            outcomes["same" if same else "told"] += 1
        shutil.rmtree(workdir)
    assert outcomes["same"]
    assert sum(outcomes.values()) == len(files) >= 5


@contextlib.contextmanager
def disk(path, options):
    """A disk of its own, where this machine lets us have one."""
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a disk needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("kilobytes", [8, 100, 400, 900])
@pytest.mark.slow
def test_a_full_disk(tmp_path, cache_dir, done, kilobytes):
    with disk(tmp_path / "d", f"size={kilobytes}k") as full:
        code, told = run_apart(full / "w", cache_dir)
        assert code in (1, 2) and "Traceback" not in told, told
        assert "disk" in told or "No space left" in told, told
    code, told = run_apart(tmp_path / "w", cache_dir)
    assert code == 0, told


@pytest.mark.slow
def test_a_read_only_folder(tmp_path, cache_dir, done):
    with disk(tmp_path / "d", "size=1m") as place:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        code, told = run_apart(place / "w", cache_dir)
        assert code in (1, 2) and "Traceback" not in told, told
        assert "Read-only" in told and "choose another" in told, told


@pytest.mark.slow
def test_a_disk_that_fills_up_later_keeps_what_was_saved(tmp_path, cache_dir, done):
    with disk(tmp_path / "d", "size=60m") as place:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "experiments.classify",
                *flags(place / "w", cache_dir, steps=100_000, eval_every=20, log_every=20),
            ],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        lines = place / "w" / "metrics.jsonl"
        while not lines.exists() or lines.read_text().count("\n") < 4:
            time.sleep(0.1)
        with contextlib.suppress(OSError), (place / "ballast").open("wb") as f:
            while True:
                f.write(bytes(10**5))
        told, _ = process.communicate(timeout=100)
        assert process.returncode in (1, 2) and "Traceback" not in told, told
        assert "disk is full" in told or "No space left" in told, told
        (place / "ballast").unlink()
        code, told = run_apart(
            place / "w", cache_dir, steps=100_000, eval_every=20, log_every=20, eval_only=True
        )
        assert code == 0 and "wrote" in told, told


def test_a_data_folder_that_has_vanished(folder_of_images, tmp_path, cache_dir):
    settings = {"dataset": "image_folder", "data_dir": folder_of_images}
    run_here(tmp_path / "w", cache_dir, **settings)
    there = tmp_path / "elsewhere" / folder_of_images.name
    there.parent.mkdir()
    shutil.move(folder_of_images, there)
    with pytest.raises(UserError, match="no such file or folder"):
        run_here(tmp_path / "w", cache_dir, **settings)
    run_here(tmp_path / "w", cache_dir, **{**settings, "data_dir": there}, eval_only=True)


def test_two_runs_in_one_work_directory(tmp_path, cache_dir, done):
    """The second is refused; the lock dies with its owner."""
    long = flags(tmp_path / "w", cache_dir, steps=100_000, eval_every=50)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.classify", *long],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in process.stdout:
        if "validation:" in line:
            break
    time.sleep(1.0)  # the checkpoint follows
    with pytest.raises(UserError, match="another process is at work in it"):
        run_here(tmp_path / "w", cache_dir, steps=100_000, eval_every=50)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    run_here(tmp_path / "w", cache_dir, steps=100_000, eval_every=50, eval_only=True)

"""Several processes of one machine do what one does."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch import local
from medjax import app, runtime
from medjax.errors import UserError
from medjax.train import mesh
from tests.conftest import ROOT

SMALL = {
    "subjects": 12,
    "steps": 4,
    "batch": 8,
    "eval_every": 2,
    "log_every": 2,
    "bootstrap": 20,
    "warmup_steps": 1,
}
# Without batch normalisation an update has one collective: XLA starts several that do not depend on
# each other in any order, and those of two processes can wait for each other on a CPU.
OF_EACH = {
    "classify": {"model": "mlp"},
    "heatmap": {"width": 4, "levels": 2},
    "search": {
        "ndim": 2,
        "agents": 8,
        "starts": 5,
        "validation_starts": 2,
        "crop_size": 9,
        "fill": 10,
        "replay": 12,
        "hidden": 8,
        "width": 8,
        "search_limit": 30,
    },
    "temporal": {"rival": False, "features": 4, "hidden": 4, "image_shape": "16,16"},
}


def command(experiment, workdir, cache, **changes):
    values = {**SMALL, **OF_EACH[experiment], "workdir": workdir, "cache_dir": cache, **changes}
    return [
        sys.executable,
        "-m",
        f"experiments.{experiment}",
        *(f"--{k}={v}" for k, v in values.items()),
    ]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "launch.local", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process):
    out, _ = process.communicate(timeout=280)
    return process.returncode, out


GLOO = re.compile(r"\[Gloo]|Rank|is|to|Expected|number|of|connected|peer|ranks|[\d.:\s]")


def said_by(number, out):
    """What a process told of itself: Gloo greets from several threads at once, words mixed."""
    told = (
        line.removeprefix(f"{number}| ")
        for line in out.splitlines()
        if line.startswith(f"{number}| ")
    )
    return [line for line in told if GLOO.sub("", line)]


def alone(arguments):
    subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, timeout=280)


def table(path):
    with path.open() as f:
        return list(csv.reader(f))


def same(a, b, *, atol):
    """Two tables are alike, numbers to rounding."""
    assert len(a) == len(b) and a[0] == b[0]
    for one, other in zip(a[1:], b[1:], strict=True):
        for x, y in zip(one, other, strict=True):
            try:
                assert float(x) == pytest.approx(float(y), rel=1e-3, abs=atol), (one, other)
            except ValueError:
                assert x == y


def ends_as_one_does(
    tmp_path, cache_dir, experiment, *, processes, devices, atol=2e-3, one=(), **changes
):
    """What so many processes print, whose answers are those of one; `one` names the changes that
    it has too."""
    alone(
        command(
            experiment,
            tmp_path / "one",
            cache_dir,
            **{k: v for k, v in changes.items() if k in one},
        )
    )
    code, out = finished(
        start(
            f"--processes={processes}",
            f"--devices={devices}",
            "--",
            *command(experiment, tmp_path / "many", cache_dir, **changes),
        )
    )
    assert code == 0, out
    same(*(table(tmp_path / w / "predictions.csv") for w in ("one", "many")), atol=atol)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["classify", "heatmap"])
def test_two_processes_of_two_devices_end_as_one_does(tmp_path, cache_dir, experiment):
    out = ends_as_one_does(tmp_path, cache_dir, experiment, processes=2, devices=2)
    assert not said_by(1, out)  # one reports
    for name in ("report.json", "metrics.jsonl", "figures", "weights.safetensors"):
        assert (tmp_path / "many" / name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["search", "temporal"])
def test_eight_devices_end_as_one_does(tmp_path, cache_dir, experiment):
    ends_as_one_does(tmp_path, cache_dir, experiment, processes=1, devices=8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "devices", "changes"),
    [
        (2, 2, {"feed": "stream"}),
        # One process, since a split state has several collectives.
        (1, 4, {"shard_state": True, "seeds": 2, "learning_rates": "1e-3,3e-3"}),
    ],
)
def test_streamed_batches_and_split_states_too(tmp_path, cache_dir, processes, devices, changes):
    ends_as_one_does(
        tmp_path,
        cache_dir,
        "classify",
        processes=processes,
        devices=devices,
        atol=1e-4,
        one=("seeds", "learning_rates"),
        **changes,
    )


def _children(pid):
    out = subprocess.run(
        ["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False
    ).stdout
    return [int(p) for p in out.split()]


def _lines(path):
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.slow
def test_one_killed_ends_the_rest_and_a_relaunch_goes_on(tmp_path, cache_dir):
    long = command("classify", tmp_path / "w", cache_dir, steps=400, eval_every=5, log_every=5)
    process = start("--processes=2", "--", *long)
    while _lines(tmp_path / "w" / "metrics.jsonl") < 4:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    os.kill(_children(process.pid)[1], signal.SIGKILL)
    began = time.monotonic()
    code, out = finished(process)
    assert code != 0 and time.monotonic() - began < 60
    assert "process 1 was killed by signal 9; ending the others" in out
    before = _lines(tmp_path / "w" / "metrics.jsonl")
    process = start("--processes=2", "--", *long)
    while _lines(tmp_path / "w" / "metrics.jsonl") < before + 2:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    process.terminate()  # all save, and say so by their exit code
    code, out = finished(process)
    assert code == runtime.STOPPED, out
    assert "resuming at step" in out and "stopped by SIGTERM" in out
    steps = [json.loads(line)["step"] for line in (tmp_path / "w" / "metrics.jsonl").open()]
    assert steps == sorted(steps)


def test_a_command_that_fails_is_told(tmp_path):
    code, out = finished(start("--", sys.executable, "-c", "import sys; sys.exit(3)"))
    assert code == 3 and "ended with code 3; ending the others" in out
    code, out = finished(start("--processes=2", "--", sys.executable, "-c", "print('here')"))
    assert code == 0 and "0| here" in out and "1| here" in out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give the command after --"),
        (["--processes=0", "--", "x"], "--processes=0"),
        (["--gpus=-1", "--", "x"], "--gpus=-1"),
        (["--", "/no/such/program"], "No such file"),
    ],
)
def test_bad_flags_get_one_clear_line(flags, words):
    with pytest.raises(UserError, match=words):
        local.main(app.parse(local.Config, ["local", *flags], "local"))


def test_each_process_knows_its_place():
    config = local.Config(files=("x",), processes=3, gpus=2)
    env = local.environment(config, 1, "127.0.0.1:1")
    assert (env["JAX_PROCESS_ID"], env["JAX_NUM_PROCESSES"]) == ("1", "3")
    assert env["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_each_device_has_threads_to_wait_in(monkeypatch):
    """One for its program and one for what that hands on, beside a thread for each core."""
    config = local.Config(files=("x",), devices=4)
    monkeypatch.delenv("NPROC", raising=False)
    assert int(local.environment(config, 0, "")["NPROC"]) == runtime.cores() + 8
    monkeypatch.setenv("NPROC", "5")
    assert local.environment(config, 0, "")["NPROC"] == "5"


def test_a_split_state_lies_split():
    """No device holds a whole kernel; what does not divide is on each."""
    program = (
        "import jax, jax.numpy as jnp\n"
        "from medjax.train import mesh\n"
        "tree = {'kernel': jnp.ones((1, 3, 8)), 'bias': jnp.ones((1, 3))}\n"
        "places = mesh.sharded(tree, mesh=mesh.make())\n"
        "put = jax.device_put(tree, places)\n"
        "print([s.data.shape for s in put['kernel'].addressable_shards],\n"
        "      [s.data.shape for s in put['bias'].addressable_shards][0])\n"
        "print(mesh.at_hand(put)['kernel'].sharding.is_fully_replicated)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
    ).stdout
    assert out.splitlines() == ["[(1, 3, 2), (1, 3, 2), (1, 3, 2), (1, 3, 2)] (1, 3)", "True"]


def test_one_process_needs_nobody():
    assert mesh.everywhere(np.array, 3) == [0, 1, 2]
    assert mesh.agree(7, True) == (7, True)
    assert mesh.my_part(8) == slice(0, 8)
    tree = {"a": jnp.ones(3)}
    assert mesh.on_host(tree)["a"].tolist() == [1, 1, 1]
    assert mesh.is_first() and jax.process_count() == 1

"""Slurm: what is asked of it; and for real, a controller and a node started on this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from launch import slurm
from medjax import app
from medjax.errors import UserError
from tests.conftest import ROOT

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue", "scancel")
CONF = """
ClusterName=medjax
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
SlurmctldPort={port}
SlurmdPort={next}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes={host} State=UP PriorityTier=10 PreemptMode=OFF
"""


def parsed(*arguments):
    return app.parse(slurm.Config, ["slurm", *arguments], "slurm")


def test_what_sbatch_is_asked(capsys):
    slurm.main(
        parsed(
            "--print",
            "--nodes=2",
            "--tasks_per_node=4",
            "--gpus_per_task=1",
            "--time=8:00:00",
            "--memory_gb=64",
            "--setup=module load cuda",
            "--",
            "python",
            "-m",
            "experiments.classify",
            "--workdir=runs/a b",
        )
    )
    out = capsys.readouterr().out
    assert out.startswith(
        "MEDJAX_SETUP='module load cuda' sbatch --nodes=2 --ntasks-per-node=4 "
        "--gpus-per-task=1 --mem=64G --time=8:00:00 --output=runs/slurm/%j.log"
    )
    assert out.endswith("job.sbatch python -m experiments.classify '--workdir=runs/a b'\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give the command"),
        (["--", "python"], "--workdir that all nodes see"),
        (["--nodes=0", "--print", "--", "x", "--workdir=y"], "--nodes=0"),
    ],
)
def test_bad_flags_get_one_clear_line(arguments, words):
    with pytest.raises(UserError, match=words):
        slurm.main(parsed(*arguments))


def test_without_slurm_it_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no sbatch here"):
        slurm.main(parsed("--", "python", "--workdir=x"))


@pytest.fixture
def cluster(tmp_path):
    """A controller and a node with two processors, on free ports of this machine."""
    missing = [
        p for p in PROGRAMS if shutil.which(p) is None and not os.path.exists(f"/usr/sbin/{p}")
    ]
    if missing:
        pytest.skip(f"no {missing[0]} here (Debian's slurmctld, slurmd, slurm-client, munge)")
    if os.geteuid():
        pytest.skip("slurmd needs root")
    for name in ("state", "spool"):
        (tmp_path / name).mkdir()
    (tmp_path / "munge.key").write_bytes(os.urandom(1024))
    (tmp_path / "munge.key").chmod(0o400)
    port = 30_000 + os.getpid() % 20_000
    (tmp_path / "slurm.conf").write_text(
        CONF.format(
            host=socket.gethostname().split(".")[0], root=tmp_path, port=port, next=port + 1
        )
    )
    env = {
        **os.environ,
        "SLURM_CONF": str(tmp_path / "slurm.conf"),
        "PATH": f"{os.environ['PATH']}:/usr/sbin",
    }
    socket_file = tmp_path / "munge.socket"
    daemons = [
        subprocess.Popen(
            [
                "munged",
                "--foreground",
                "--force",
                f"--key-file={tmp_path}/munge.key",
                f"--socket={socket_file}",
                f"--pid-file={tmp_path}/munged.pid",
                f"--seed-file={tmp_path}/munge.seed",
                f"--log-file={tmp_path}/munged.log",
            ],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    ]
    try:
        wait_for(socket_file.exists, "munged")
        daemons += [
            subprocess.Popen(
                [name, "-D"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for name in ("slurmctld", "slurmd")
        ]
        wait_for(lambda: "idle" in asked(env, "sinfo", "-h", "-o", "%T"), "the node")
        yield env
        asked(env, "scancel", "--full", "--user=root")
        wait_for(lambda: not asked(env, "squeue", "-h"), "the jobs")
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(timeout=30)


def asked(env, *command):
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=30, check=False
    ).stdout.strip()


def wait_for(ready, what, seconds=90.0, log=None):
    end = time.monotonic() + seconds
    while not ready():
        told = log.read_text()[-2500:] if log and log.exists() else ""
        assert time.monotonic() < end, f"{what} did not come; {told}"
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.alone
def test_preempted_it_saves_is_requeued_and_goes_on(cluster, tmp_path, cache_dir):
    """Two tasks as two processes; a job of a higher partition takes their node away."""
    workdir, env = tmp_path / "run", {**cluster, "PYTHONUNBUFFERED": "1"}
    lines = workdir / "metrics.jsonl"

    def count():
        return lines.read_text().count("\n") if lines.exists() else 0

    def goes_on(before, *more):
        """Slurm would wait two minutes. A start within the second of the end it takes for dead."""
        if asked(env, "squeue", "-h", "-j", job, "-o", "%t") == "PD":
            time.sleep(3)
            asked(env, "scontrol", "update", f"job={job}", "starttime=now", *more)
        return count() > before + 2

    out = subprocess.run(
        [
            sys.executable,
            "-m",
            "launch.slurm",
            "--tasks_per_node=2",
            f"--logs={tmp_path}/logs",
            f"--setup=cd {ROOT}",
            "--",
            sys.executable,
            "-m",
            "experiments.classify",
            "--subjects=20",
            "--model=mlp",
            "--steps=100000",
            "--eval_every=200",
            "--log_every=200",
            "--batch=8",
            f"--workdir={workdir}",
            f"--cache_dir={cache_dir}",
        ],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    job = out.split()[-1]
    log = tmp_path / "logs" / f"{job}.log"
    wait_for(lambda: count() > 3, "progress", log=log)
    asked(env, "sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 3")
    wait_for(lambda: "PD" in asked(env, "squeue", "-h", "-j", job, "-o", "%t"), "the requeue")
    assert "stopped by SIGTERM" in log.read_text()
    before = count()
    wait_for(lambda: goes_on(before), "progress after the requeue", log=log)
    text = log.read_text()
    assert f"job {job}, start 2" in text and "resuming at step" in text
    turns = log.read_text().count("back into the queue")  # Slurm may have done it by itself
    asked(env, "scontrol", "update", f"job={job}", "timelimit=1")  # two minutes before: at once
    wait_for(lambda: log.read_text().count("back into the queue") > turns, "its time", log=log)
    wait_for(lambda: "PD" in asked(env, "squeue", "-h", "-j", job, "-o", "%t"), "the requeue")
    again = count()
    wait_for(lambda: goes_on(again, "timelimit=60"), "progress after its time was over", log=log)
    asked(env, "scancel", job)  # by its owner: it stays away
    wait_for(lambda: not asked(env, "squeue", "-h"), "the end")
    assert log.read_text().count("back into the queue") == turns + 1
    assert not (workdir / "report.json").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_sweep_as_an_array(cluster, tmp_path, cache_dir):
    call = [
        sys.executable,
        "-m",
        "launch.sweep",
        "--where=slurm",
        f"--workdir={tmp_path}/s",
        f"--logs={tmp_path}/logs",
        f"--setup=cd {ROOT}",
        "--",
        "experiments.classify",
        "--subjects=20",
        "--steps=2",
        "--batch=8",
        "--eval_every=1",
        "--model=mlp",
        "--bootstrap=20",
        f"--cache_dir={cache_dir}",
        "--dropout=0.1",
        "--dropout=0.2",
    ]
    out = subprocess.run(
        call, cwd=ROOT, env=cluster, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "Submitted batch job" in out
    wait_for(lambda: len(list((tmp_path / "s").glob("*/report.json"))) == 2, "both reports", 200)
    wait_for(lambda: not asked(cluster, "squeue", "-h"), "the end")
    again = subprocess.run(
        call, cwd=ROOT, env=cluster, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "2 runs, 2 of them done" in again and "by auc on validation" in again

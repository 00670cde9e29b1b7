"""An experiment on Kubernetes, or on a slice of Cloud TPUs: prints what their own tools take.

    python -m launch.cloud --to=jobset --name=big --image=REGISTRY/medjax --nodes=2 --gpus=8 \
      --claim=research -- medjax classify --batch=512 --workdir=/mnt/medjax/big \
      | kubectl apply -f -
    python -m launch.cloud --to=tpu_vm --name=big --tpu=v5litepod-16 --zone=us-west4-a \
      --bucket=research -- medjax classify --batch=512 --workdir=/mnt/medjax/big > big.sh

Both run one process a machine, begin again when machines are taken away, and go on from the newest
checkpoint, for which `/mnt/medjax` has to be the same storage on all machines: the volume claim
`--claim`, or by gcsfuse the bucket `--bucket`.
"""

import dataclasses
import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import yaml

from medjax import app
from medjax.config import option
from medjax.errors import UserError

PORT = 55527  # of the first process, which the others meet


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings; the fields are flags. What follows -- is the command."""

    files: tuple[str, ...] = option((), "the command that each machine runs", positional=True)
    to: str = option(
        "jobset", "a JobSet for kubectl, or a script for Cloud TPUs", choices=("jobset", "tpu_vm")
    )
    name: str = option("medjax", "of the job: small letters, digits and -")
    image: str = option("", "jobset: container image, as launch/Containerfile builds it")
    nodes: int = option(1, "jobset: machines, a process on each")
    gpus: int = option(0, "jobset: GPUs of each machine")
    tpu: str = option(
        "", "tpu_vm: accelerator type (v5litepod-16); jobset: GKE's (tpu-v5-lite-podslice)"
    )
    tpu_topology: str = option("", "jobset: of the slice, as 4x4")
    chips: int = option(0, "jobset: TPU chips of each machine")
    claim: str = option("", "jobset: volume claim that is mounted at /mnt/medjax")
    namespace: str = option("default", "jobset: where it runs")
    restarts: int = option(20, "how often it may begin again")
    zone: str = option("", "tpu_vm: of the slice")
    runtime: str = option("v2-alpha-tpuv5-lite", "tpu_vm: its software version")
    spot: bool = option(True, "tpu_vm: cheaper, and may be taken away")
    bucket: str = option("", "tpu_vm: bucket that is mounted at /mnt/medjax")


def main(config: Config) -> None:
    check(config)
    print(jobset_yaml(config) if config.to == "jobset" else tpu_script(config), end="")


def check(config: Config) -> None:
    """Raises UserError for what neither could run."""
    if not config.files:
        raise UserError(
            "give the command after --, as in: -- medjax classify --workdir=/mnt/medjax/big"
        )
    if not any(a.startswith("--workdir=/mnt/medjax/") for a in config.files):
        raise UserError("give the experiment a --workdir below /mnt/medjax, which all machines see")
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", config.name):
        raise UserError(
            f"--name={config.name}: small letters, digits and -, 40 at most, the first a letter"
        )
    needed = {"jobset": ("image", "claim"), "tpu_vm": ("tpu", "zone", "bucket")}[config.to]
    for name in needed:
        if not getattr(config, name):
            raise UserError(f"--to={config.to} needs --{name}")
    if config.nodes < 1 or min(config.gpus, config.chips, config.restarts) < 0:
        raise UserError("--nodes must be at least 1, --gpus, --chips and --restarts not negative")


def jobset_yaml(config: Config) -> str:
    """The manifest as text."""
    return yaml.safe_dump(jobset(config), sort_keys=False, width=100)


def jobset(config: Config) -> dict[str, Any]:
    """A JobSet (jobset.x-k8s.io/v1alpha2): a pod a machine, all begun again if one fails."""
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": config.name, "namespace": config.namespace},
        "spec": {
            "failurePolicy": {"maxRestarts": config.restarts},
            "network": {"enableDNSHostnames": True, "subdomain": config.name},
            "replicatedJobs": [
                {"name": "workers", "replicas": 1, "template": {"spec": job(config)}}
            ],
        },
    }


def job(config: Config) -> dict[str, Any]:
    """The specification of the one Job in it."""
    return {
        "parallelism": config.nodes,
        "completions": config.nodes,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": {"spec": pod(config)},
    }


def pod(config: Config) -> dict[str, Any]:
    """One machine. The first one's name, which JobSet makes, is where all meet."""
    first = f"{config.name}-workers-0-0.{config.name}:{PORT}"
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    devices = {"nvidia.com/gpu": config.gpus, "google.com/tpu": config.chips}
    limits = {name: count for name, count in devices.items() if count}
    place = {
        "cloud.google.com/gke-tpu-accelerator": config.tpu,
        "cloud.google.com/gke-tpu-topology": config.tpu_topology,
    }
    selector = {name: value for name, value in place.items() if value}
    container = {
        "name": "medjax",
        "image": config.image,
        "command": list(config.files),
        "ports": [{"containerPort": PORT}],
        "env": [
            {"name": "JAX_COORDINATOR_ADDRESS", "value": first},
            {"name": "JAX_NUM_PROCESSES", "value": str(config.nodes)},
            {"name": "JAX_PROCESS_ID", "valueFrom": {"fieldRef": {"fieldPath": index}}},
        ],
        "volumeMounts": [
            {"name": "work", "mountPath": "/mnt/medjax"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
        **({"resources": {"limits": limits}} if limits else {}),
    }
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,  # to save after SIGTERM
        **({"nodeSelector": selector} if selector else {}),
        "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": config.claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }


def tpu_script(config: Config) -> str:
    """The shell script, from `tpu_vm.sh.in`."""
    template = Template(Path(__file__).with_name("tpu_vm.sh.in").read_text())
    workdir = next(a for a in config.files if a.startswith("--workdir=")).partition("=")[2]
    bucket = shlex.quote(config.bucket)
    on_each = {
        "prepare": " && ".join(
            (
                "sudo apt-get install -qy gcsfuse >/dev/null",
                "sudo mkdir -p /mnt/medjax",
                'sudo chown "$USER" /mnt/medjax',
                # A checkpoint is a folder that is renamed when it is whole.
                f"gcsfuse --implicit-dirs --rename-dir-limit=100000 {bucket} /mnt/medjax",
                "cd medjax",
                # The images of TPUs have an older Python than medjax needs.
                "python3 -m pip install -q --user uv",
                "python3 -m uv venv -q --python 3.12 .venv",
                "python3 -m uv pip install -q --python .venv/bin/python -e '.[tpu]'",
            )
        ),
        "run": f"cd medjax && . .venv/bin/activate && MEDJAX_JOIN=1 {shlex.join(config.files)}",
        "finished": f"test -e {shlex.quote(workdir + '/report.json')}",
    }
    return template.substitute(
        name=config.name,
        zone=shlex.quote(config.zone),
        tpu=shlex.quote(config.tpu),
        runtime=shlex.quote(config.runtime),
        spot="--spot" if config.spot else "",
        restarts=config.restarts,
        **{k: shlex.quote(v) for k, v in on_each.items()},
    )


if __name__ == "__main__":
    app.run(main, Config)

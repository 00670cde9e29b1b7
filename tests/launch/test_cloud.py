"""What is rendered for others' tools is what they take: by their schemas, and by their linters."""

import shutil
import subprocess

import pytest
import yaml

from launch import cloud
from medjax import app
from medjax.errors import UserError
from tests.conftest import ROOT

COMMAND = [
    "--",
    "python",
    "-m",
    "experiments.classify",
    "--dropout=0.5",
    "--workdir=/mnt/medjax/a b",
]
JOBSET = ["--to=jobset", "--image=r/medjax", "--claim=research"]
TPU = ["--to=tpu_vm", "--tpu=v5litepod-16", "--zone=us-west4-a", "--bucket=research"]

# The fields of jobset.x-k8s.io/v1alpha2 that a manifest here has, after the API's documentation.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["replicatedJobs"],
            "properties": {
                "failurePolicy": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"maxRestarts": {"type": "integer", "minimum": 0}},
                },
                "network": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "enableDNSHostnames": {"type": "boolean"},
                        "subdomain": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"},
                    },
                },
                "replicatedJobs": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "template"],
                        "properties": {
                            "name": {"type": "string"},
                            "replicas": {"type": "integer", "minimum": 1},
                            "template": {"type": "object"},
                        },
                    },
                },
            },
        },
    },
}


def config(*arguments):
    return app.parse(cloud.Config, ["cloud", *arguments], "cloud")


def program(name):
    found = shutil.which(name) or shutil.which(str(ROOT / ".venv" / "bin" / name))
    if found is None:
        pytest.skip(f"no {name} here; the extra `dev` has it")
    return found


@pytest.mark.parametrize(
    "more",
    [
        ["--nodes=2", "--gpus=8"],
        ["--nodes=4", "--chips=4", "--tpu=tpu-v5-lite-podslice", "--tpu_topology=4x4"],
        [],
    ],
)
def test_a_jobset_and_its_job_hold_by_their_schemas(more):
    validate = pytest.importorskip("kubernetes_validate")
    import jsonschema

    made = cloud.jobset(config(*JOBSET, *more, *COMMAND))
    again = yaml.safe_load(cloud.jobset_yaml(config(*JOBSET, *more, *COMMAND)))
    assert again == made
    jsonschema.validate(made, SCHEMA)
    (group,) = made["spec"]["replicatedJobs"]
    validate.validate(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "workers"},
            **group["template"],
        },
        validate.latest_version(),
        strict=True,
    )


def test_every_pod_knows_where_the_first_is():
    made = cloud.jobset(config(*JOBSET, "--name=big", "--nodes=3", *COMMAND))
    spec = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert spec["parallelism"] == spec["completions"] == 3
    (container,) = spec["template"]["spec"]["containers"]
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert env["JAX_COORDINATOR_ADDRESS"] == "big-workers-0-0.big:55527"
    assert env["JAX_NUM_PROCESSES"] == "3"
    assert container["command"][-1] == "--workdir=/mnt/medjax/a b"


def test_the_script_for_tpus_passes_its_linter(tmp_path):
    script = cloud.tpu_script(config(*TPU, *COMMAND))
    assert "--spot" in script and "--accelerator-type=v5litepod-16" in script
    (tmp_path / "run.sh").write_text(script)
    subprocess.run(["bash", "-n", tmp_path / "run.sh"], check=True)
    subprocess.run(
        [program("shellcheck"), tmp_path / "run.sh", ROOT / "launch" / "job.sbatch"], check=True
    )


def test_the_script_for_tpus_does_what_it_says(tmp_path):
    """With a gcloud that notes its calls: a slice that is taken away is made again."""
    (tmp_path / "gcloud").write_text(
        '#!/bin/bash\necho "$@" >> ' + str(tmp_path / "calls") + "\n"
        'case "$*" in *describe*)\n'
        "    n=$(grep -c describe " + str(tmp_path / "calls") + ")\n"
        '    [ "$n" = 1 ] && echo SUSPENDED || echo ACTIVE ;;\n'
        "  *MEDJAX_JOIN*) n=$(grep -c MEDJAX_JOIN " + str(tmp_path / "calls") + ")\n"
        '    [ "$n" -ge 2 ] ;;\nesac\n'
    )
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "run.sh").write_text(cloud.tpu_script(config(*TPU, *COMMAND)))
    subprocess.run(
        ["bash", "run.sh"],
        cwd=tmp_path,
        check=True,
        timeout=60,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "MEDJAX_POLL_SECONDS": "0"},
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    kinds = [
        next(k for k in ("create", "describe", "scp", "ssh", "delete") if f" {k} " in c)
        for c in calls
    ]
    once = ["create", "describe", "scp", "ssh", "ssh"]
    assert kinds == ["create", "describe", "delete", *once, "delete", *once, "ssh", "delete"]
    assert any("'--workdir=/mnt/medjax/a b'" in c for c in calls)


def test_the_container_file_passes_its_linter():
    subprocess.run([program("hadolint"), ROOT / "launch" / "Containerfile"], check=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (JOBSET, "give the command after --"),
        ([*JOBSET, "--", "python"], "below /mnt/medjax"),
        ([*JOBSET, "--name=Big_One", *COMMAND], "--name=Big_One"),
        (["--claim=c", *COMMAND], "--to=jobset needs --image"),
        (["--to=tpu_vm", *COMMAND], "needs --tpu"),
        ([*JOBSET, "--nodes=0", *COMMAND], "--nodes must be at least 1"),
    ],
)
def test_bad_flags_get_one_clear_line(arguments, words):
    with pytest.raises(UserError, match=words):
        cloud.main(config(*arguments))

"""Of accelerators, without one: programs lower for them, and what devices tell each other."""

import functools
import json
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments import (
    classify,
    detect,
    heatmap,
    pretrain,
    register,
    retrieve,
    search,
    segment,
    temporal,
)
from launch import scaling
from medjax import models
from tests.conftest import ROOT
from tests.experiments import (
    programs,
    test_classify,
    test_detect,
    test_heatmap,
    test_pretrain,
    test_register,
    test_retrieve,
    test_search,
    test_segment,
    test_temporal,
)

EXPERIMENTS = {
    "classify": (classify, {**test_classify.SMALL, "model": "resnet_slim"}),
    "detect": (detect, test_detect.SMALL),
    "heatmap": (heatmap, test_heatmap.SMALL),
    "pretrain": (pretrain, test_pretrain.SMALL),
    "register": (register, test_register.SMALL),
    "retrieve": (retrieve, {**test_retrieve.SMALL, "code": True, "loss": "proxy"}),
    "search": (search, test_search.SMALL),
    "segment": (segment, test_segment.SMALL),
    "temporal": (temporal, test_temporal.SMALL),
}
QUICK = ("classify", "register", "search", "segment")  # the rest share their kinds of layers
ON_DEVICE = {  # XLA's own, for small systems of equations
    "cuda": {"cusolver_getrf_ffi", "cu_lu_pivots_to_permutation"},
    "tpu": {"LuDecomposition"},
}


@pytest.mark.parametrize("take", [programs.take_update, programs.take_prediction])
@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS],
)
def test_programs_lower_for_gpu_and_tpu_without_the_host(
    name, take, monkeypatch, tmp_path, cache_dir
):
    experiment, small = EXPERIMENTS[name]
    flags = {**small, "workdir": tmp_path / "w", "cache_dir": cache_dir}
    program = take(experiment, flags, monkeypatch)
    for platform, known in ON_DEVICE.items():
        exported = jax.export.export(program.function, platforms=[platform])(*program.arguments)
        text = exported.mlir_module()
        calls = set(re.findall(r"custom_call @\"?([\w.]+)", text))
        assert calls <= known, f"{platform}: {calls - known}"
        assert "callback" not in text


SCRIPT = """
import json, pathlib, re, sys, tempfile
import jax, pytest
from collections import Counter
from tests.experiments import programs
from tests.experiments.test_accelerators import EXPERIMENTS
kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
found, devices = {}, jax.device_count()
for name, (experiment, small) in EXPERIMENTS.items():
    workdir = tempfile.mkdtemp() + "/w"
    flags = {**small, "batch": devices, "workdir": workdir, "cache_dir": sys.argv[1]}
    if name == "search":
        flags["agents"] = devices
    with pytest.MonkeyPatch.context() as patch:
        update = programs.take_update(experiment, flags, patch)
    text = update.function.lower(*update.arguments).compile().as_text()
    found[name] = Counter(re.findall(rf" = .*? ({kinds})(?:-start)?[(]", text))
print("FOUND", json.dumps(found))
"""


def collectives(devices, cache):
    options = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cache)],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": options, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("FOUND")[1])


@pytest.mark.slow
def test_collectives_of_an_update_do_not_grow_with_the_devices(tmp_path):
    one, few, many = (collectives(n, tmp_path) for n in (1, 2, 16))
    assert not any(one.values())
    assert few == many
    # Without batch normalisation the gradients of all weights go in one.
    assert many["heatmap"] == {"all-reduce": 1}
    # Statistics of a batch are of all devices; replay and agents are split, and drawn from as one;
    # views are held against those of all images.
    for name, counts in many.items():
        gathers = {"all-gather"} if name in ("search", "pretrain") else set()
        assert set(counts) <= {"all-reduce"} | gathers, name
    # As `launch.scaling` counts: forth and back of each normalisation, and all gradients; XLA may
    # join some.
    network = models.over_time("cnn", recurrence="lstm", features=4, hidden=4, outputs=2)
    assert many["temporal"]["all-reduce"] == reductions(network, (1, 4, 16, 16, 1), [4])
    network = models.classifier("resnet_slim", num_classes=10)
    most = reductions(network, (1, 48, 48, 1))
    assert 0.8 * most < many["classify"]["all-reduce"] <= most
    assert sum(many["search"].values()) == 6


def reductions(network, shape, *more):
    init = functools.partial(network.init, train=False)
    inputs = (jnp.zeros(shape), *map(jnp.array, more))
    return scaling.count_reductions(jax.eval_shape(init, jax.random.key(0), *inputs))

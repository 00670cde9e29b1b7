"""`--profile`: where the time of an update goes."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import classify
from medjax import app
from medjax.experiment import profiling
from medjax.train.hlo_cost import OperationCost
from tests.conftest import settings
from tests.experiments.test_classify import SMALL


def test_rates_by_hand():
    """2 GFLOP in half a second where the peak is 8 a second: half of it."""
    costs = {
        "dot.1": OperationCost("dot", "dense", 1e9, 1e6),
        "copy.2": OperationCost("copy", "", 0.0, 1e9),
        "while.3": OperationCost("while", "", 0.0, 0.0),
        "unseen.4": OperationCost("dot", "", 1e9, 0.0),
    }
    events = {"dot.1": (1.5, 6), "copy.2": (0.6, 3), "while.3": (9.0, 3), "host": (1.0, 1)}
    spent = profiling.attribute_time(costs, events, updates=3)
    assert [s.name for s in spent] == ["dot.1", "copy.2"]
    found = profiling.summarise(spent, 0.9, profiling.Peak(8e9, 1e10), compile_seconds=4.0)
    dot, copy = found["operations"]
    assert (dot["gflop"], dot["calls"], dot["of_peak"], dot["limit"]) == (2.0, 2, 0.5, "arithmetic")
    assert copy["limit"] == "memory"
    assert copy["of_peak"] == pytest.approx(0.5)  # 1 GB in 0.2 s, of 10 GB/s
    assert found["host_seconds"] == pytest.approx(0.9 - 0.5 - 0.2)


def test_what_other_threads_do_gets_the_rest_of_the_time():
    costs = {
        "conv.1": OperationCost("convolution", "first", 4e9, 0.0),
        "add.2": OperationCost("add", "", 1.0, 1e9),
    }
    spent = profiling.attribute_time(costs, {"conv.1": (0.001, 1), "add.2": (0.2, 1)}, updates=1)
    found = profiling.summarise(spent, 1.2, profiling.Peak(8e9, 1e10), compile_seconds=4.0)
    together, add = found["operations"]
    assert together["milliseconds"] == pytest.approx(1000.0)
    assert together["of_peak"] == pytest.approx(0.5)  # 4 GFLOP in a second
    assert add["opcode"] == "add"


def test_memory_by_hand():
    """Two matrices of 4 MB, the first given away for the answer; beside it a third in between."""

    def update(a, b):
        return jnp.sin(a @ b) @ b

    a = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    plan = profiling.plan_memory(jax.jit(update, donate_argnums=0).lower(a, a).compile())
    assert plan["held_gigabytes"] == pytest.approx(0.008)
    assert plan["temporary_gigabytes"] == pytest.approx(0.004, rel=0.1)


def test_which_device_an_update_fits():
    told = [profiling.describe_memory(10.0, more).split("; ")[1] for more in (5.0, 7.0, 80.0)]
    assert told == ["fits a device of 16 GB", "fits a device of 40 GB", "fits no device of 80 GB"]


@pytest.mark.slow
def test_a_run_shows_it_and_trains_the_same(tmp_path, cache_dir, capsys):
    def run(name, **more):
        flags = settings(SMALL, workdir=tmp_path / name, cache_dir=cache_dir, **more)
        given = [f"--{k}={v}" for k, v in flags.items()]
        classify.main(app.parse(classify.Config, ["classify", *given], "classify"))
        return json.loads((tmp_path / name / "report.json").read_text())

    traced = run("a", profile=True)
    assert "dearest operations of an update" in capsys.readouterr().out
    found = json.loads((tmp_path / "a" / "profile" / "profile.json").read_text())
    assert found["operations"]
    assert found["gflop"] > 0
    assert found["held_gigabytes"] > 0 and found["temporary_gigabytes"] > 0
    assert list((tmp_path / "a" / "profile").rglob("*.trace.json.gz"))
    assert traced["weights_sha256"] == run("b")["weights_sha256"]

"""Shared by all tests: quick compilation, and where the real data lie."""

import json
import os
import time
from importlib.metadata import version
from pathlib import Path

# Before jax starts: a lower LLVM level compiles three times faster and costs small steps nothing;
# the older emitters of XLA take a sixth less time for the whole, and are not in every release.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=2"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path("~/.cache/medjax/test_compilation").expanduser())
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

import hypothesis
import numpy as np
import pytest

hypothesis.settings.register_profile("medjax", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("medjax")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def real_data(name: str) -> Path:
    """The folder of a real set; the test is skipped where it is absent."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"real data absent: {SHARED / name}")
    return SHARED / name


def pytest_runtest_setup(item):
    """After `MEDJAX_SLOW_UNTIL`, seconds since 1970, no slow test begins."""
    deadline = os.environ.get("MEDJAX_SLOW_UNTIL")
    if deadline and "slow" in item.keywords and time.time() > float(deadline):
        pytest.skip("a slow test, and this machine has no time left for it (MEDJAX_SLOW_UNTIL)")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """What a module has compiled is of no use to the next one, and fills a worker's memory."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


REPORT = {  # what every report has
    "experiment",
    "dataset",
    "split",
    "cases",
    "subjects",
    "synthetic",
    "model",
    "of",
    "parameters",
    "best_step",
    "validation",
    "metrics",
    "baseline",
    "baseline_is",
    "definitions",
    "seeds",
    "train",
    "notes",
    "device",
    "versions",
    "weights_sha256",
}


def settings(small: dict, **changes) -> dict:
    """Flags of a small run; a set of files is not made, so it has no number of subjects."""
    given = {k: v for k, v in small.items() if k != "subjects" or "data_dir" not in changes}
    return {**given, **changes}


def newest_state(workdir):
    """The bytes of every array of the newest checkpoint, by its stored checksums."""
    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    meta = next((workdir / "checkpoints" / str(steps[-1]) / "meta").glob("metadata"))
    return steps[-1], json.loads(meta.read_text())["crc32"]


def common(tmp_path_factory) -> Path:
    """A folder that all workers of one run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    """Prepared sets, shared by all tests."""
    folder = common(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def folder_of_images(tmp_path) -> Path:
    """Two classes of 12 pictures, 10 x 12, bright or dark."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, level in (("bright", 180), ("dark", 40)):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(12):
            pixels = (level + rng.integers(0, 40, (10, 12))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{i:02d}.png")
    return tmp_path / "set"

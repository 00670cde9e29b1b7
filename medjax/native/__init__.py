"""Convolutions and interpolation compiled on this machine, for a CPU, where XLA's own are slow: an
extra.

`medjax build` compiles the files beside this one once, with the C++ compiler and for the processor
at hand; every run from then on uses it. Without it, and on accelerators, XLA's own are used.
"""

import contextlib
import contextvars
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medjax.errors import UserError, first_line

CALLS = [  # the functions of the library, as XLA knows them
    "medjax_conv_forward",
    "medjax_conv_kernel_gradient",
    "medjax_depthwise_forward",
    "medjax_depthwise_kernel_gradient",
    "medjax_sample_forward",
    "medjax_sample_image_gradient",
    "medjax_sample_place_gradient",
]
_SOURCES = sorted(Path(__file__).parent.glob("*.cc"))
_FILES = [*_SOURCES, *sorted(Path(__file__).parent.glob("*.h"))]
# No -ffast-math: loading such a library changes how the whole process rounds small numbers.
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
_COMPILERS = ("c++", "g++", "clang++")
_loaded: dict[str, ctypes.CDLL] = {}  # by its name; a library stays as long as the process
_aside: contextvars.ContextVar[bool] = contextvars.ContextVar("aside", default=False)


def library_path(cache_dir: Path) -> Path:
    """Where the compiled library lies; another source, jaxlib or processor has another."""
    import jaxlib

    code = [path.read_text() for path in _FILES]
    facts = (*code, *_FLAGS, jaxlib.__version__, platform.machine(), _processor())
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return cache_dir / "native" / f"conv_{digest}.so"


def _processor() -> str:
    """What the processor can do, where the system tells: a cache may be shared by several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def build(path: Path) -> None:
    """Compiles the library to `path`.

    Raises:
      UserError: if there is no compiler, or it fails, or the folder cannot be written.
    """
    import jax.ffi

    compiler = _find_compiler()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            headers, sources = f"-I{jax.ffi.include_dir()}", map(str, _SOURCES)
            command = [compiler, *_FLAGS, headers, *sources, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                errors = [line for line in done.stderr.splitlines() if "error" in line]
                raise UserError(f"{compiler}: failed: {(errors or [done.stderr])[0].strip()}")
            os.replace(made, path)
    except OSError as e:
        raise UserError(f"{path.parent}: cannot be written ({e.strerror})") from None


def _find_compiler() -> str:
    wish = os.environ.get("CXX")
    for name in (wish,) if wish else _COMPILERS:
        if compiler := shutil.which(name):
            return compiler
    raise UserError(
        f"no C++ compiler ({wish or ', '.join(_COMPILERS)}): install one, such as g++, or name it "
        "in the variable CXX"
    )


def load(path: Path) -> bool:
    """Has the library compute what it can from here on, if it is there; says whether it is.

    Raises:
      UserError: if it cannot be loaded.
    """
    if not _loaded and path.exists():
        register(path)
    return bool(_loaded)


def register(path: Path) -> None:
    """Makes the library's functions known to XLA.

    Raises:
      UserError: if it cannot be loaded.
    """
    import jax.ffi

    try:
        library = ctypes.cdll.LoadLibrary(str(path))
    except OSError as e:
        raise UserError(f"{path}: {first_line(e)}; build it again: medjax build") from None
    for name in CALLS:
        capsule = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    _loaded[path.stem] = library


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """While it lasts, programs are traced without the library: they run on any machine."""
    token = _aside.set(True)
    try:
        yield
    finally:
        _aside.reset(token)


def is_loaded() -> bool:
    """Whether the library computes convolutions and interpolation."""
    return bool(_loaded) and not _aside.get()


def name_loaded() -> str:
    """The name of the library, which tells its source and processor; empty where there is none."""
    return next(iter(_loaded), "")

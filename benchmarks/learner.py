"""medjax's side: a classifier and its training program, as an experiment would build them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.cases import BATCHES, LEARNING_RATE, MOMENTUM, Case, batches
from medjax import losses, models, native, runtime
from medjax.errors import UserError
from medjax.models.unet import UNet
from medjax.train import feed, optim, state
from medjax.train.step import Advance, make_advance, make_step
from medjax.typing import Array, Batch, Key

NATIVE = "--native"  # asks a worker for the convolutions of `medjax build`
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}


def use(device: str, *, compiled: bool = False) -> None:
    """Chooses cpu or gpu, and compiles anew; call it before anything else of JAX.

    Args:
      compiled: with the convolutions of `medjax build`.

    Raises:
      UserError: if there is no such device, or nothing was built.
    """
    runtime.fast_cpu()
    if compiled and not native.load(native.library_path(Path("~/.cache/medjax").expanduser())):
        raise UserError("not built: medjax build")
    jax.config.update("jax_platforms", _PLATFORMS[device])
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # the second where no plug-in for it is installed
        raise UserError(f"--device={device}: JAX finds none here") from None


def network(case: Case, *, dtype: str = "float32") -> Any:
    """The network of `case`."""
    if case.widths:
        return UNet(case.num_classes, case.widths, dtype=jnp.dtype(dtype))
    return models.classifier(case.model, num_classes=case.num_classes, dtype=dtype)


def make(
    case: Case, *, dtype: str = "float32"
) -> tuple[Callable[[Key], state.TrainState], Advance]:
    """`init(key) -> state` and `advance` (as of `make_advance`) of the network of `case`."""
    model = network(case, dtype=dtype)
    optimizer = optim.make(
        "sgd", learning_rate=LEARNING_RATE, steps=1, schedule="constant", momentum=MOMENTUM
    )

    def init(key: Key) -> state.TrainState:
        variables = model.init(key, jnp.zeros((1, *case.shape)), train=False)
        return state.create(variables["params"], variables.get("batch_stats", {}), optimizer)

    def loss(key: Key, params: Any, stats: Any, batch: Batch):
        logits, updated = model.apply(
            {"params": params, "batch_stats": stats},
            batch["image"],
            train=True,
            mutable=["batch_stats"],
        )
        if case.widths:
            value = jnp.square(logits - batch["label"]).mean()
        else:
            target = jax.nn.one_hot(batch["label"], case.num_classes)
            value = jax.vmap(losses.cross_entropy)(logits, target).mean()
        return value, (updated.get("batch_stats", stats), {"loss": value})

    return init, make_advance(make_step(loss, optimizer), _pick)


def _pick(key: Key, data: Batch, step: Array, i: Array) -> Batch:
    return feed.pick_streamed(key, data, step % BATCHES, i)


def data(case: Case, *, batch: int) -> Batch:
    """The batches, on the device."""
    return jax.device_put(batches(case, batch=batch))


def compiled(advance: Advance, *given: Any) -> tuple[Any, float]:
    """The program for (key, state, data) as given, and the seconds that compiling took."""
    began = time.perf_counter()
    program = jax.jit(advance, donate_argnums=1).lower(*given, jnp.int32(1)).compile()
    return program, time.perf_counter() - began


def about() -> dict[str, Any]:
    """The device and the versions."""
    import flax

    return {
        "device": jax.devices()[0].device_kind,
        "versions": {"jax": jax.__version__, "flax": flax.__version__},
    }

"""medjax: a JAX research library for medical images.

The calls of this module are imported when they are first used, so that `import medjax` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PLACES = {
    **dict.fromkeys(
        (
            "classify",
            "compare",
            "detect",
            "heatmap",
            "open_dataset",
            "pretrain",
            "register",
            "register_dataset",
            "retrieve",
            "search",
            "segment",
            "temporal",
            "transfer",
        ),
        "medjax.api",
    ),
    **dict.fromkeys(("CaseIndex", "make_index", "open_index"), "medjax.index"),
    **dict.fromkeys(("Figure", "Result", "open_run"), "medjax.result"),
    "main": "medjax.__main__",
    "Bundle": "medjax.bundle",
    "load": "medjax.bundle",
    "Dataset": "medjax.data.dataset",
    "DenseTransform": "medjax.data.dense_transform",
    "UserError": "medjax.errors",
    "register_loss": "medjax.losses",
    "register_network": "medjax.models",
}
__all__ = [
    "Bundle",
    "CaseIndex",
    "Dataset",
    "DenseTransform",
    "Figure",
    "Result",
    "UserError",
    "__version__",
    "classify",
    "compare",
    "detect",
    "heatmap",
    "load",
    "main",
    "make_index",
    "open_dataset",
    "open_index",
    "open_run",
    "pretrain",
    "register",
    "register_dataset",
    "register_loss",
    "register_network",
    "retrieve",
    "search",
    "segment",
    "temporal",
    "transfer",
]

if TYPE_CHECKING:
    from medjax.__main__ import main
    from medjax.api import (
        classify,
        compare,
        detect,
        heatmap,
        open_dataset,
        pretrain,
        register,
        register_dataset,
        retrieve,
        search,
        segment,
        temporal,
        transfer,
    )
    from medjax.bundle import Bundle, load
    from medjax.data.dataset import Dataset
    from medjax.data.dense_transform import DenseTransform
    from medjax.errors import UserError
    from medjax.index import CaseIndex, make_index, open_index
    from medjax.losses import register_loss
    from medjax.models import register_network
    from medjax.result import Figure, Result, open_run


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'medjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

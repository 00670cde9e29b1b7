"""The contract of a method that is trained by one loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

from medjax.typing import Array, Batch, Key, Logs, Params, Stats


class Task(NamedTuple):
    """What a network is trained to do. Pure functions of batches.

    Attributes:
      init: weights and batch statistics before training.
      loss: of a batch in training, with the new statistics and what is logged.
      predict: arrays by name, `[batch, ...]`, in units of the prepared image. A name `loss` is the
        loss of each case without augmentation, where the batch has the targets that it needs.
      trainable: names at the top of the parameters that are trained; empty: all.
    """

    init: Callable[[Key], tuple[Params, Stats]]
    loss: Callable[[Key, Params, Stats, Batch], tuple[Array, tuple[Stats, Logs]]]
    predict: Callable[[Params, Stats, Batch], dict[str, Any]]
    trainable: tuple[str, ...] = ()

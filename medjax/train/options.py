"""How a network is trained, as settings that become flags."""

import dataclasses

from medjax.config import option
from medjax.train import optim, several


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Updates, learners, optimiser, and how often things are done."""

    steps: int = option(1000, "updates", least=1, grows=True, common=True)
    batch: int = option(
        64,
        "examples an update; 0 as a default: as many as suit the images",
        least=1,
        common=True,
    )
    seed: int = option(0, "of weights, order and augmentation; the first of --seeds", least=0)
    seeds: int = option(1, "so many models, trained as one program", least=1, common=True)
    optimizer: str = option(
        "adamw", "AdamW, or SGD with Nesterov momentum", choices=optim.OPTIMIZERS
    )
    learning_rate: float = option(2e-3, "its peak", least=0, common=True)
    learning_rates: tuple[float, ...] = option(
        (),
        "several peaks, comma-separated: tried as one program, validation chooses",
        item=float,
        least=0,
    )
    schedule: str = option("cosine", "of the learning rate", choices=optim.SCHEDULES)
    warmup_steps: int = option(50, "updates until the peak", least=0)
    weight_decay: float = option(0.01, "decoupled, on kernels only", least=0)
    weight_decays: tuple[float, ...] = option(
        (),
        "the same of --weight_decay: one to each of --learning_rates, or one for all",
        item=float,
        least=0,
    )
    momentum: float = option(0.9, "of SGD; first moment of AdamW", least=0, below=1)
    clip_norm: float = option(1.0, "longest gradient; 0 is off", least=0)
    ema_decay: float = option(0.99, "moving average of the weights; 0 is off", least=0, below=1)
    eval_every: int = option(
        0, "updates between evaluations and checkpoints; 0: a tenth of all", least=0
    )
    early_stopping: int = option(
        0, "end after so many evaluations without gain on validation; 0: never", least=0
    )
    log_every: int = option(50, "updates between lines of metrics.jsonl", least=1, free=True)
    keep: int = option(2, "newest checkpoints kept, beside the best", least=1, free=True)

    @property
    def choices(self) -> list[several.Choice]:
        """The settings that are tried as one program; one, where there is nothing to choose."""
        return several.choices(
            self.learning_rates or (self.learning_rate,), self.weight_decays or (self.weight_decay,)
        )


@dataclasses.dataclass(frozen=True)
class FeedOptions:
    """Where batches come from, and how state is spread over devices."""

    shard_state: bool = option(
        False, "weights and optimiser split over the devices, not a copy on each", free=True
    )
    feed: str = option(
        "auto",
        "auto keeps sets below 4 GB on the device; streamed seeds share one order",
        choices=("auto", "resident", "stream"),
    )

"""What a learning curve says that a user should know."""

from collections.abc import Sequence

from medjax.typing import JsonView

_RISE = 1.25  # of the loss on validation, from its lowest value to its last


def remark_learning(lines: Sequence[JsonView]) -> list[str]:
    """The remarks on a run's logged lines, each with what to try.

    Args:
      lines: of `metrics.jsonl`; those without a loss on validation are passed over.
    """
    losses = [
        (line["step"], line["loss"], line["validation_loss"])
        for line in lines
        if line.get("loss") is not None and line.get("validation_loss") is not None
    ]
    if not losses:
        return []
    (step, trained, lowest), last = min(losses, key=lambda x: x[2]), losses[-1]
    if not (last[2] - lowest > (_RISE - 1) * abs(lowest) and last[1] < trained):
        return []
    return [
        f"the loss on validation rose from {lowest:.3g} (step {step}) to {last[2]:.3g} (step "
        f"{last[0]}) while that of training fell: either training goes on too long, or its random "
        "versions are unlike the images of validation; try early_stopping=3, or weaker "
        "augmentation (rotate_degrees=0 scale=0 translate=0)"
    ]

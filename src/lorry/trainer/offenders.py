"""Which rows of a step made the loss diverge."""

from __future__ import annotations

from collections.abc import Sequence

from lorry.data.examples import UNWANTED
from lorry.trainer import memory, stopping
from lorry.trainer.row_loss import row_losses
from lorry.trainer.step import Step, Stepper


def offenders(stepper: Stepper, step: Step, recent: Sequence[float], multiple: float) -> tuple[int, ...]:
    """Rows of a step whose own loss is not a number or far above the running median; all of them where none stands out."""
    stepper.optimizer.zero_grad(set_to_none=True)
    try:
        with stepper.loaded.answering():
            losses = row_losses(stepper.loaded, stepper.examples, step.rows, 1)
    except Exception as error:
        if not memory.is_out_of_memory(error):
            raise
        return step.rows
    kinds = stepper.examples.kinds
    means = {row.index: row.loss_sum / row.tokens for row in losses if row.tokens and kinds[row.index] not in UNWANTED}
    found = tuple(index for index, mean in means.items() if stopping.divergence(mean, recent, multiple))
    return tuple(stepper.examples.whole(found)) or step.rows

"""How long a training will take and how much memory, measured on rows of its own."""

from typing import Final

from hivelearn.node.context import NodeContext
from hivelearn.node.train_estimate import TrainEstimate
from hivelearn.training.follow import MEMORY_BYTES
from hivelearn.training.session import TrainingSession

FREE_SHARE: Final = 2  # a training keeps to one part in so many of what is free
BUDGET_LEAST: Final = 16 << 20


def memory_budget(context: NodeContext) -> int:
    """Return how many bytes one pass may keep: as configured, else by what is free.

    It is halved until it fits, not cut to fit: what is free changes with every second,
    and two trainings of the same corrections should do the same sums.
    """
    if context.config.training_memory_bytes is not None:
        return context.config.training_memory_bytes
    budget, free = MEMORY_BYTES, context.environment.memory().free
    while budget > BUDGET_LEAST and budget * FREE_SHARE > free:
        budget //= 2
    return budget


def probed(context: NodeContext, session: TrainingSession) -> TrainEstimate:
    """Return the estimate of a training that has not begun; one small pass is thrown away."""
    used, began_s = context.environment.memory().used, context.environment.monotonic()
    share = session.rehearse_a_pass()
    return estimated(session, used, (context.environment.monotonic() - began_s) / share)


def estimated(session: TrainingSession, used_bytes: int, step_s: float) -> TrainEstimate:
    """Return the estimate of a training.

    Args:
        session: that begins or goes on.
        used_bytes: by this process before its first step.
        step_s: what a step takes.
    """
    return TrainEstimate(
        domain=session.domain,
        corrections=session.learnt_from,
        steps=session.of,
        least_steps=session.least_steps,
        batch=session.batch,
        step_s=step_s,
        memory_bytes=used_bytes + session.more_bytes(),
    )

"""Operators count deltas; people know sources. Here a place becomes a name."""

from collections.abc import Iterator
from contextlib import contextmanager

from hivelearn.merging.errors import MergeError
from hivelearn.merging.run.plan import Plan


@contextmanager
def named(plan: Plan, module: str | None) -> Iterator[None]:
    """Let errors inside the block say in which module, if in one, and whose delta is at fault.

    Operators see only those with a weight, in the order of their content.
    """
    try:
        yield
    except MergeError as error:
        if module is not None:
            plan.refuse_broken(module)  # looked for only now: it costs as much as reading all
        what = error.what
        if error.delta is not None:
            weights = plan.weights(module or plan.modules[0]).tolist()
            present = [s.name for s, w in zip(plan.sources, weights, strict=True) if w != 0]
            what = what.replace(f"delta {error.delta}", present[error.delta])
        prefix = "" if module is None or module in what else f"{module}: "
        raise MergeError(prefix + what, remedy=error.remedy) from error

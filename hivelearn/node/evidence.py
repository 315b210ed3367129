"""What a node measures with: its own held-out corrections and general texts.

Nothing here was trained on. The general prompts that lower a claimed ceiling and
the general questions that judge harm are different texts, so that the judge has
not seen what the ceiling was fitted to.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hivelearn.errors import UsageError
from hivelearn.gate.probes import Probes
from hivelearn.inference.nano import tasks
from hivelearn.inference.router import lowered
from hivelearn.node.workbench import Workbench

if TYPE_CHECKING:
    from hivelearn.inference.rows import Row
    from hivelearn.patch.adapter import Adapter
    from hivelearn.store.correction import Correction


def rows_of(bench: Workbench, corrections: "Sequence[Correction]") -> "list[Row]":
    """Return corrections as rows with their right answers."""
    return [_row(bench, correction) for correction in corrections]


def _row(bench: Workbench, correction: "Correction") -> "Row":
    messages = [{"role": m.role, "content": m.content} for m in correction.messages]
    try:
        return bench.engine.rower.pair(messages, correction.right)
    except UsageError as error:
        raise UsageError(
            f"correction {correction.id[:8]} in {correction.domain!r} does not fit this model: "
            f"{error.what}",
            remedy=f"node.corrections.forget({correction.id!r}), or open a model that takes it.",
        ) from error


def holdout(bench: Workbench, domain: str) -> "list[Row]":
    """Return the held-out corrections of one domain as rows."""
    return rows_of(bench, bench.store.journal.list(domain, holdout=True))


def general(bench: Workbench) -> "list[Row]":
    """Return general questions with their answers, to judge harm with."""
    items = tasks.held_out(bench.config.base_texts, bench.config.seed)
    return [bench.engine.rower.pair(item.question, item.answer) for item in items]


def probes(bench: Workbench, domain: str) -> Probes:
    """Return all rows that a change in ``domain`` is judged with."""
    held = {c.domain for c in bench.store.journal.list(holdout=True)}
    others = {name: holdout(bench, name) for name in sorted(held - {domain})}
    own = holdout(bench, domain) if domain in held else []
    return Probes(domain, own, others, general(bench))


def granted(
    bench: Workbench, adapter: "Adapter", claimed: float | None, domain: str
) -> float | None:
    """Return the ceiling this node grants an expert of ``domain``; None without a claim."""
    if claimed is None:
        return None
    held = {c.domain for c in bench.store.journal.list(holdout=True)} - {domain}
    prompts = tasks.general_prompts(bench.config.base_texts, bench.config.seed)
    foreign = [bench.engine.rower.prompt(text) for text in prompts]
    for name in sorted(held):
        foreign += holdout(bench, name)
    return lowered(claimed, bench.engine.losses(foreign, adapter, "prompt"))

"""What a node measures with: its own held-out corrections and general texts.

Nothing here was trained on. The general prompts that lower a claimed ceiling and
the general questions that judge harm are different texts, so that the judge has
not seen what the ceiling was fitted to.

A correction that this model cannot read, being longer than its context, is left out
and named: one long text must not stop what is judged and learnt by all others.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.gate.probes import Probes
from hivelearn.inference.nano import tasks
from hivelearn.inference.router import lowered
from hivelearn.node.context import NodeContext

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example
    from hivelearn.patch.adapter import Adapter
    from hivelearn.store.correction import Correction


log: Final = logging.getLogger("hivelearn.evidence")


@dataclass(frozen=True, slots=True)
class Fitting:
    """The corrections that this model can read, as rows, and why it cannot read the others."""

    corrections: "tuple[Correction, ...]"
    rows: "tuple[Example, ...]"  # one for each of them, with its right answer
    left_out: Mapping[str, str]  # id -> why


def fitting(context: NodeContext, corrections: "Sequence[Correction]") -> Fitting:
    """Return corrections as rows; what does not fit the model is left out, and that is noted."""
    kept, rows, left_out = [], [], {}
    for correction in corrections:
        try:
            rows.append(as_row(context, correction))
            kept.append(correction)
        except UsageError as error:
            left_out[correction.id] = error.what
    _note(context, left_out)
    return Fitting(tuple(kept), tuple(rows), left_out)


def as_row(context: NodeContext, correction: "Correction") -> "Example":
    """Return a correction as a row with its right answer.

    Raises:
        UsageError: it does not fit this node's model.
    """
    messages = [{"role": m.role, "content": m.content} for m in correction.messages]
    return context.engine.encoder.pair(messages, correction.right)


def left_out(context: NodeContext) -> dict[str, str]:
    """Return the corrections (id -> why) that have been found not to fit; loads no model."""
    return context.store.marks.left_out(context.base)


def _note(context: NodeContext, found: Mapping[str, str]) -> None:
    known = left_out(context) if found else {}
    new = {correction: why for correction, why in found.items() if correction not in known}
    if new:
        for correction, why in sorted(new.items()):
            log.warning("correction %s is left out: %s", correction[:8], why)
        with context.store.writing("note what does not fit"):
            context.store.marks.leave_out(context.base, new)


def holdout(context: NodeContext, domain: str) -> "list[Example]":
    """Return the held-out corrections of one domain as rows."""
    return list(fitting(context, context.journal.list(domain, holdout=True)).rows)


def general(context: NodeContext) -> "list[Example]":
    """Return general questions with their answers, to judge harm with."""
    items = tasks.held_out(context.config.base_texts, context.config.seed)
    return [context.engine.encoder.pair(item.question, item.answer) for item in items]


def probes(context: NodeContext, domain: str) -> Probes:
    """Return all rows that a change in ``domain`` is judged with."""
    held = {c.domain for c in context.journal.list(holdout=True)}
    others = {name: holdout(context, name) for name in sorted(held - {domain})}
    own = holdout(context, domain) if domain in held else []
    return Probes(domain, own, others, general(context))


def granted(
    context: NodeContext, adapter: "Adapter", claimed: float | None, domain: str
) -> float | None:
    """Return the ceiling this node grants an expert of ``domain``; None without a claim."""
    if claimed is None:
        return None
    held = {c.domain for c in context.journal.list(holdout=True)} - {domain}
    prompts = tasks.general_prompts(context.config.base_texts, context.config.seed)
    foreign = [context.engine.encoder.prompt(text) for text in prompts]
    for name in sorted(held):
        foreign += holdout(context, name)
    return lowered(claimed, context.engine.losses(foreign, adapter, "prompt"))

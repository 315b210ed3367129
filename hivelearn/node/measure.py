"""What a node measures with: its own held-out corrections and general texts.

Nothing here was trained on. The general prompts that a claim must stay above and the
general questions that judge harm are different texts, so that the judge has not seen
what the claim was fitted to. They suit the model: the embedded nano model knows
its own small tasks, every other one is asked what people ask.

What is measured here is kept in the home (:mod:`hivelearn.inference.loss_cache`).

A correction that this model cannot read, being longer than its context, is left out
and named: one long text must not stop what is judged and learnt by all others.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.gate.probes import Probes
from hivelearn.inference import general_texts, router
from hivelearn.inference.loss_cache import BASE
from hivelearn.inference.model_folder import NANO
from hivelearn.inference.nano import tasks
from hivelearn.node.context import NodeContext
from hivelearn.node.served import content_id

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example
    from hivelearn.inference.router import Claim, Surprise
    from hivelearn.patch.adapter import Adapter
    from hivelearn.patch.manifest import RouterCard
    from hivelearn.store.correction import Correction


SAMPLE: Final = 40  # held-out corrections of another domain: what it is a sample of costs more

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
    """Return general questions with their answers, to judge harm and forgetting with."""
    count, pair = context.config.base_texts, context.engine.encoder.pair
    if _is_nano(context):
        items = tasks.held_out(count, context.config.seed)
        return [pair(item.question, item.answer) for item in items]
    return [pair(text.prompt, text.answer) for text in general_texts.judge_harm(count)]


def _general_prompts(context: NodeContext) -> "list[Example]":
    """Return the general prompts that every claim stays above."""
    count = context.config.base_texts
    if _is_nano(context):
        prompts = tasks.general_prompts(count, context.config.seed)
    else:
        prompts = [text.prompt for text in general_texts.claims_stay_above(count)]
    return [context.engine.encoder.prompt(prompt) for prompt in prompts]


def _is_nano(context: NodeContext) -> bool:
    return context.folder.resolve() == NANO


def probes(context: NodeContext, domain: str) -> Probes:
    """Return all rows that a change in ``domain`` is judged with.

    Of each other domain a sample: the interval tells how sure it makes us.
    """
    held = {c.domain for c in context.journal.list(holdout=True)}
    others = {name: _sample(holdout(context, name)) for name in sorted(held - {domain})}
    own = holdout(context, domain) if domain in held else []
    return Probes(domain, own, others, general(context))


def _sample(rows: "list[Example]") -> "list[Example]":
    """Return the same few rows every time, so that their losses are known already."""
    return sorted(rows, key=lambda row: hashlib.sha256(repr(row.tokens).encode()).digest())[:SAMPLE]


def card(
    context: NodeContext, adapter: "Adapter", rows: "Sequence[Example]"
) -> "RouterCard | None":
    """Return the router card of an own adapter from its domain's held-out corrections."""
    if len(rows) < router.CARD_PROMPTS_MIN:
        return None  # said before a model is asked
    return router.card(_surprises(context, rows, adapter))


def granted(
    context: NodeContext, adapter: "Adapter", claimed: "RouterCard | None", domain: str
) -> "Claim | None":
    """Return the claim this node grants an expert of ``domain``; None without a card."""
    if claimed is None:
        return None
    held = {c.domain for c in context.journal.list(holdout=True)} - {domain}
    kinds = [_general_prompts(context), *(_sample(holdout(context, name)) for name in sorted(held))]
    return router.granted(claimed, [_surprises(context, rows, adapter) for rows in kinds])


def _surprises(
    context: NodeContext, rows: "Sequence[Example]", adapter: "Adapter"
) -> "list[Surprise]":
    found = losses(context, rows, adapter, "prompt")
    return router.surprises(found, losses(context, rows, None, "prompt"))


def losses(
    context: NodeContext, rows: "Sequence[Example]", adapter: "Adapter | None", part: str = "answer"
) -> list[float]:
    """Return losses (mean nats per token of ``part``) of the node's own rows, each measured once.

    Args:
        context: whose rows.
        rows: own corrections or shipped texts: what is measured is kept in the home.
        adapter: None is the base model alone.
        part: "answer" or "prompt".
    """
    state = BASE if adapter is None else content_id(adapter.root().hex(), adapter)
    return context.measured.of(context.engine, rows, state, adapter, part, lasting=True)

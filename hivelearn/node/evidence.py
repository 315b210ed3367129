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
from hivelearn.node.workbench import Workbench

if TYPE_CHECKING:
    from hivelearn.inference.rows import Row
    from hivelearn.patch.adapter import Adapter
    from hivelearn.store.correction import Correction


log: Final = logging.getLogger("hivelearn.evidence")


@dataclass(frozen=True, slots=True)
class Fitting:
    """The corrections that this model can read, as rows, and why it cannot read the others."""

    corrections: "tuple[Correction, ...]"
    rows: "tuple[Row, ...]"  # one for each of them, with its right answer
    left_out: Mapping[str, str]  # id -> why


def fitting(bench: Workbench, corrections: "Sequence[Correction]") -> Fitting:
    """Return corrections as rows; what does not fit the model is left out, and that is noted."""
    kept, rows, left_out = [], [], {}
    for correction in corrections:
        try:
            rows.append(as_row(bench, correction))
            kept.append(correction)
        except UsageError as error:
            left_out[correction.id] = error.what
    _note(bench, left_out)
    return Fitting(tuple(kept), tuple(rows), left_out)


def as_row(bench: Workbench, correction: "Correction") -> "Row":
    """Return a correction as a row with its right answer.

    Raises:
        UsageError: it does not fit this node's model.
    """
    messages = [{"role": m.role, "content": m.content} for m in correction.messages]
    return bench.engine.rower.pair(messages, correction.right)


def left_out(bench: Workbench) -> dict[str, str]:
    """Return the corrections (id -> why) that have been found not to fit; loads no model."""
    found: dict[str, str] = bench.store.notes.setting(_setting(bench), {})
    return found


def _note(bench: Workbench, found: Mapping[str, str]) -> None:
    known = left_out(bench) if found else {}
    new = {correction: why for correction, why in found.items() if correction not in known}
    if new:
        for correction, why in sorted(new.items()):
            log.warning("correction %s is left out: %s", correction[:8], why)
        with bench.store.writing("note what does not fit"):
            bench.store.notes.set(_setting(bench), known | new)


def _setting(bench: Workbench) -> str:
    return f"left out/{bench.base.hex()}"  # what one model cannot read another can


def holdout(bench: Workbench, domain: str) -> "list[Row]":
    """Return the held-out corrections of one domain as rows."""
    return list(fitting(bench, bench.store.journal.list(domain, holdout=True)).rows)


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

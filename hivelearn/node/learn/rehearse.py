"""What the base model itself answers to everyday questions, asked once and kept in the home."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.files import write_whole
from hivelearn.inference.chat import ANSWER, Example
from hivelearn.inference.sampling import Sampling
from hivelearn.node.context import NodeContext
from hivelearn.training import rehearsal
from hivelearn.training.recipe import Recipe

log: Final = logging.getLogger("hivelearn.train")


def rows(context: NodeContext, recipe: Recipe) -> tuple[Example, ...]:
    """Return what a training by ``recipe`` rehearses; nothing if it does not, or cannot.

    A question that the model's template or context does not take is left out.
    """
    if not recipe.rehearsal or "generate" not in context.engine.capabilities:
        return ()
    encoder, found = context.engine.encoder, []
    for question, answer in _answered(context).items():
        try:
            row = rehearsal.answer_only(encoder.pair(question, answer))
        except UsageError:
            continue
        if ANSWER in row.marks:
            found.append(row)
    return tuple(found)


def _answered(context: NodeContext) -> dict[str, str]:
    """Return question to answer. Kept: half a minute of a small model's time, and greedy."""
    questions = rehearsal.QUESTIONS
    asked = hashlib.sha256("\n".join((context.base.hex(), *questions)).encode()).hexdigest()
    file = context.home.path / "rehearsal" / f"{asked[:16]}.json"
    known = _read(file)
    if known is None:
        log.info("asking the base model %d everyday questions, once", len(questions))
        known = _ask(context, questions)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(file, json.dumps(known, ensure_ascii=False).encode(), mode=0o600)
    return known


def _read(file: Path) -> dict[str, str] | None:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    whole = isinstance(found, dict) and all(isinstance(text, str) for text in found.values())
    return found if whole else None


def _ask(context: NodeContext, questions: tuple[str, ...]) -> dict[str, str]:
    encoder, asked = context.engine.encoder, []
    for question in questions:
        try:
            asked.append((question, encoder.prompt(question)))
        except UsageError:
            continue
    sampling = Sampling(rehearsal.ANSWER_TOKENS)
    said = context.engine.generate([row for _, row in asked], None, sampling)
    answers = (completion.text for completion in said)
    return dict(zip((question for question, _ in asked), answers, strict=True))

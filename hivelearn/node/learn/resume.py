"""A training begins, or goes on where it stopped with the corrections that it began with.

What experts say while a training rests waits for the next one: else a machine
that may learn an hour a day, and is corrected every day, would begin anew
every day and never end. Only what makes its checkpoint wrong ends a training:
a correction forgotten since, for nothing forgotten may be learnt from, or another
recipe. Then it begins anew, and says why.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.node import measure
from hivelearn.node.context import NodeContext
from hivelearn.node.learn import estimate, rehearse
from hivelearn.node.measure import Fitting
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.sealable import refuse_unsealable
from hivelearn.store.errors import MissingBlobError
from hivelearn.training.checkpoint import CheckpointError, names_in
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import Lessons, TrainingSession, nothing_to_learn

log: Final = logging.getLogger("hivelearn.train")


@dataclass(frozen=True, slots=True)
class Training:
    """A training that can be pulled, and what its report must say of its corrections."""

    session: TrainingSession
    learns_from: tuple[str, ...]  # ids of its corrections
    left_out: int = 0  # corrections that do not fit the model
    newer: int = 0  # that came since it began, and wait for the next training
    anew: str = ""  # why an interrupted training was given up; empty if none was


def begin(context: NodeContext, domain: str, recipe: Recipe) -> Training:
    """Return the domain's interrupted training, else a new one on all its corrections.

    Raises:
        UsageError: no corrections to learn from, none that fits the model, or a recipe whose
            adapter would be too large for a patch.
    """
    corrections = context.journal.list(domain, holdout=False)
    if not corrections:
        held_out = len(context.journal.list(domain))
        raise nothing_to_learn(domain, held_out)  # before a model is opened for nothing
    now = measure.fitting(context, corrections)
    anew = ""
    try:
        checkpoint = context.checkpoints.load(context.base, domain)
        if checkpoint is not None:
            return _go_on(context, domain, recipe, checkpoint, now)
    except (CheckpointError, MissingBlobError) as error:
        anew = error.what
        log.warning("%s: the interrupted training is given up and begins anew: %s", domain, anew)
    if not now.rows:
        raise UsageError(
            f"no correction to train on in {domain!r} fits this model: "
            f"{next(iter(now.left_out.values()))}",
            remedy="Open a model with a longer context, or correct shorter questions.",
        )
    session = session_on(context, domain, recipe, now)
    ids = tuple(c.id for c in now.corrections)
    refuse_unsealable(session.adapter())
    if left := context.engine.left_out:
        log.warning(
            "%s: the training leaves out %s: they are no linear layers of this model, and a "
            "LoRA reaches linear layers alone",
            domain,
            ", ".join(left),
        )
    return Training(session, ids, len(now.left_out), anew=anew)


def session_on(
    context: NodeContext, domain: str, recipe: Recipe, given: Fitting, onto: Adapter | None = None
) -> TrainingSession:
    """Return a session on these corrections, with what it rehearses and the memory it may use."""
    ids = tuple(c.id for c in given.corrections)
    lessons = Lessons(given.rows, ids, rehearse.rows(context, recipe))
    budget = estimate.memory_budget(context)
    return TrainingSession(context.engine, lessons, recipe, domain, budget, onto)


def _go_on(
    context: NodeContext, domain: str, recipe: Recipe, checkpoint: bytes, now: Fitting
) -> Training:
    """Return the training of ``checkpoint``, on the very rows that it began with.

    Raises:
        CheckpointError: it cannot go on, and why.
    """
    ids = names_in(checkpoint)
    # Also an answer that was corrected again since: it was said, and the better one waits.
    said = {c.id: c for c in context.journal.list(domain, holdout=False, superseded=True)}
    gone = [each for each in ids if each not in said]
    if gone:
        known = {c.id for c in context.journal.list(domain, superseded=True)}
        # The only question of a domain is learnt from; with a second one it may be a judge.
        now_judges = known.issuperset(gone)
        count, what = len(gone), "held out to judge by" if now_judges else "forgotten"
        raise CheckpointError(
            f"{count} of its corrections {'was' if count == 1 else 'were'} {what} since"
        )
    then = measure.fitting(context, [said[each] for each in ids])
    if not then.rows:
        raise CheckpointError("the checkpoint names no correction that fits this model")
    session = session_on(context, domain, recipe, then).restore(checkpoint)
    newer = sum(each.id not in ids for each in now.corrections)
    return Training(session, ids, len(now.left_out), newer)


def note_learnt(context: NodeContext, domain: str, training: Training) -> None:
    """Remember what the domain's last whole training learnt from."""
    context.store.marks.set_learnt(context.base, domain, _digest(training.learns_from))


def has_news(context: NodeContext, domain: str) -> bool:
    """Return whether a training is to be made, or to be ended.

    Told by what the corrections are and not by when they came: a clock may run back, and
    what came while a training rested is older than its end.
    """
    corrections = context.journal.list(domain, holdout=False)
    if not corrections:
        return False
    if context.checkpoints.checkpoint(context.base, domain) is not None:
        return True
    last = context.store.marks.learnt(context.base, domain)
    cannot = measure.left_out(context)
    if last == _digest(c.id for c in corrections if c.id not in cannot):
        return False
    fitting = measure.fitting(context, corrections).corrections
    return bool(fitting) and last != _digest(c.id for c in fitting)


def _digest(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()

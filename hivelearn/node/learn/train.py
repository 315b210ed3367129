"""The first story: corrections become an announced patch.

    ask → correct → (night) train, a step at a time while the device permits
        → adapter → judge on the own holdout → seal → serve

Read `train` top to bottom. A training that is interrupted, by heat, by Ctrl-C
or by kill -9, goes on from its last checkpoint at the next call, bit for bit
(`resume.py` says when it must not).
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from hivelearn.device.permit import DeviceLimits, Permit
from hivelearn.errors import UsageError
from hivelearn.gate.gain import N_MIN, Gain, Measure, Unmeasured, paired_gain, too_few
from hivelearn.inference import router
from hivelearn.node import measure, own_records
from hivelearn.node.ask import experts
from hivelearn.node.context import NodeContext
from hivelearn.node.learn import resume
from hivelearn.node.reports import TrainReport
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.manifest import Receipt
from hivelearn.report.progress import Progress
from hivelearn.store.correction import check_domain
from hivelearn.store.generations import Generation, Served
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import TrainingSession

log: Final = logging.getLogger("hivelearn.train")


def train(
    context: NodeContext,
    domain: str,
    recipe: Recipe,
    limits: DeviceLimits,
    sleep: Callable[[float], object] | None = None,
) -> tuple[Patch | None, TrainReport]:
    """Train on the domain's corrections, judge, seal and serve.

    Args:
        context: the node.
        domain: whose corrections.
        recipe: how.
        limits: what the device must be like.
        sleep: the environment's, or one whose true result means "stop now".

    Returns:
        The sealed patch and the report; the patch is None if the training was
        told to stop before its last step, and then a checkpoint waits.

    Raises:
        UsageError: no corrections to train on.
        WriterBusyError: another process writes to this home.
    """
    check_domain(domain)
    with context.store.writing(f"train {domain}"):
        training = resume.begun(context, domain, recipe)
        session, rows = training.session, len(training.learns_from)
        began_s = context.environment.monotonic()
        rested = _pull(context, session, domain, limits, sleep)
        took_s = context.environment.monotonic() - began_s
        done = TrainReport(
            domain=domain,
            patch=None,
            own=too_few(0),
            adopted=False,
            generation=None,
            steps=session.done,
            of_steps=session.recipe.steps,
            corrections=rows,
            rested=rested,
            seconds=took_s,
            newer=training.newer,
            left_out=training.left_out,
            anew=training.anew,
        )
        if session.done < session.recipe.steps:
            return None, done
        patch, own = _sealed(context, session, domain, rows)
        number = _serve(context, patch, own)
        resume.note_learnt(context, domain, training)
        context.store.checkpoints.clear(
            context.base, domain
        )  # last: a crash before it repeats the end
        return patch, replace(
            done, patch=patch.id.hex(), own=own, adopted=number is not None, generation=number
        )


def _pull(
    context: NodeContext,
    session: TrainingSession,
    domain: str,
    limits: DeviceLimits,
    sleep: Callable[[float], object] | None,
) -> int:
    """Pull steps while the permit lasts; return how often the device made it rest."""
    rests = 0
    saved_s = context.environment.monotonic()

    def save() -> None:
        nonlocal saved_s
        saved_s = context.environment.monotonic()
        context.store.checkpoints.save(
            context.base, domain, session.checkpoint(), saved_s=context.environment.clock()
        )

    with Progress(context.config.progress, f"train {domain}", session.recipe.steps) as shown:

        def changed(permit: Permit) -> None:
            nonlocal rests
            shown.say(permit.why)
            log.log(logging.INFO if permit.work else logging.WARNING, "%s", permit.why)
            if not permit.work and session.done:
                rests += 1
                save()  # a rest may last until the machine is switched off

        try:
            for step in context.governor(limits, changed, sleep).paced(session):
                shown.at(step.index + 1, f"loss {step.loss:.3f}")
                if context.environment.monotonic() - saved_s >= context.config.checkpoint_s:
                    save()
                if sleep is not None and sleep(0.0):
                    break  # at full duty nobody sleeps, so nobody else would ask
        finally:
            if session.done:
                save()  # Ctrl-C loses nothing, and the judging that follows may be long
    return rests


def _sealed(
    context: NodeContext, session: TrainingSession, domain: str, trained_on: int
) -> tuple[Patch, Measure]:
    """Seal what was learnt, with what it measures on the own holdout."""
    adapter = session.adapter()
    held = measure.holdout(context, domain)
    before: Sequence[float] = ()
    after: Sequence[float] = ()
    own: Measure = Unmeasured("no correction is held out to judge by")
    if held:
        before = experts.current(context).serve(context.engine, domain)(held)
        after = context.engine.losses(held, adapter, "answer")
        own = paired_gain(before, after, seed=context.config.seed)
    receipt = Receipt(
        steps=session.done,
        tokens=session.tokens,
        records=1 << (trained_on - 1).bit_length(),
        loss_before=_mean(before),
        loss_after=_mean(after),
    )
    card = router.card(context.engine.losses(held, adapter, "prompt")) if held else None
    patch = own_records.sign(context, adapter, domain, card=card, receipt=receipt, shared_a=True)
    return patch, own


def _mean(losses: Sequence[float]) -> float | None:
    finite = [min(loss, 1_000.0) for loss in losses if not math.isnan(loss)]
    return sum(finite) / len(finite) if finite else None


def _serve(context: NodeContext, patch: Patch, own: Measure) -> int | None:
    """Commit a generation with ``patch`` as the specialist, unless it measures no better."""
    if isinstance(own, Gain) and own.low <= 0:
        return None
    return commit_specialist(context, patch, why=f"trained. own {own}")


def commit_specialist(context: NodeContext, patch: Patch, why: str) -> int:
    """Make ``patch`` its domain's specialist. The caller holds the writer lock.

    With enough held out to judge by, the domain is the node's own from now on: the
    foreign experts leave, and the next merge judges them by the own evidence.
    """
    claimed = patch.body.card
    ceiling = claimed.ceiling if claimed else None
    served = Served(
        patch=patch.id,
        payload=patch.body.payload_root.hex(),
        author=patch.body.author,
        median=claimed.median if claimed else None,
        ceiling=measure.granted(context, patch.adapter, ceiling, patch.domain),
    )
    old = context.store.generations.current(context.base, patch.domain)
    experts = old.experts if old else ()
    ours = len(measure.holdout(context, patch.domain)) >= N_MIN
    new = Generation(
        base=context.base,
        domain=patch.domain,
        specialist=served,
        experts=() if ours else experts,
        why=why,
        created_s=context.environment.clock(),
    )
    with context.store.together():
        for expert in experts if ours else ():
            entry = expert.patch and context.store.shelf.get(expert.patch)
            if entry and entry.state == "admitted":
                why = "its domain has become this node's own"
                context.store.shelf.move(entry.id, "quarantined", reason=why)
        return context.store.generations.commit(new)


def sealed(context: NodeContext, adapter: Adapter, domain: str, licence: str = "") -> Patch:
    """Make a patch of an adapter from elsewhere: a Trainer run, a folder, a merge.

    Its router card comes from this node's holdout of the domain, if there is one.

    Raises:
        UsageError: it does not fit this node's model, or is not finite.
    """
    from hivelearn.gate.norms import nonfinite

    check_domain(domain)
    context.engine.check(adapter)
    if broken := nonfinite(adapter):
        raise UsageError(
            f"the adapter holds NaN or infinity in {broken[0]}",
            remedy="Lower the learning rate and train again; nothing was sealed.",
        )
    with context.store.writing(f"seal {domain}"):
        held = measure.holdout(context, domain)
        card = router.card(context.engine.losses(held, adapter, "prompt")) if held else None
        return own_records.sign(context, adapter, domain, card=card, licence=licence)

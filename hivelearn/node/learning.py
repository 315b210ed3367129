"""The first story: corrections become an announced patch.

    ask → correct → (night) train, a step at a time while the device permits
        → adapter → judge on the own holdout → seal → serve

Read `train` top to bottom. A training that is interrupted, by heat, by Ctrl-C
or by kill -9, goes on from its last checkpoint at the next call, bit for bit.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from hivelearn.device.permit import Limits, Permit
from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure, paired_gain, too_few
from hivelearn.inference import router
from hivelearn.node import evidence, feed, panel
from hivelearn.node.reports import TrainReport
from hivelearn.node.workbench import Workbench
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.manifest import Receipt
from hivelearn.report.progress import Progress
from hivelearn.store.correction import check_domain
from hivelearn.store.errors import MissingBlobError
from hivelearn.store.generations import Generation, Served
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import CheckpointError, Session

log: Final = logging.getLogger("hivelearn.train")


def train(
    bench: Workbench,
    domain: str,
    recipe: Recipe,
    limits: Limits,
    sleep: Callable[[float], object] | None = None,
) -> tuple[Patch | None, TrainReport]:
    """Train on the domain's corrections, judge, seal and serve.

    Args:
        bench: the node.
        domain: whose corrections.
        recipe: how.
        limits: what the device must be like.
        sleep: the world's, or one whose true result means "stop now".

    Returns:
        The sealed patch and the report; the patch is None if the training was
        told to stop before its last step, and then a checkpoint waits.

    Raises:
        UsageError: no corrections to train on.
        WriterBusyError: another process writes to this home.
    """
    check_domain(domain)
    with bench.store.writing(f"train {domain}"):
        corrections = bench.store.journal.list(domain, holdout=False)
        rows = evidence.rows_of(bench, corrections)
        session = resumed(bench, Session(bench.engine, rows, recipe, domain), domain)
        began_s = bench.world.monotonic()
        rested = _pull(bench, session, domain, limits, sleep)
        took_s = bench.world.monotonic() - began_s
        done = TrainReport(
            domain=domain,
            patch=None,
            own=too_few(0),
            adopted=False,
            generation=None,
            steps=session.done,
            of_steps=session.recipe.steps,
            corrections=len(rows),
            rested=rested,
            seconds=took_s,
        )
        if session.done < session.recipe.steps:
            return None, done
        patch, own = _sealed(bench, session, domain, len(rows))
        number = _serve(bench, patch, own)
        bench.store.pauses.clear(bench.base, domain)  # last: a crash before it repeats the end
        return patch, replace(
            done, patch=patch.id.hex(), own=own, adopted=number is not None, generation=number
        )


def resumed(bench: Workbench, session: Session, domain: str) -> Session:
    """Return ``session``, gone on to the domain's checkpoint if that is of the same training."""
    try:
        checkpoint = bench.store.pauses.load(bench.base, domain)
        return session if checkpoint is None else session.restore(checkpoint)
    except CheckpointError as error:
        # Usually corrections came or went since: what it knew is out of date.
        log.info("%s: a training starts anew: %s", domain, error.what)
    except MissingBlobError as error:
        log.warning("%s: a training starts anew: %s", domain, error.what)
    return session


def _pull(
    bench: Workbench,
    session: Session,
    domain: str,
    limits: Limits,
    sleep: Callable[[float], object] | None,
) -> int:
    """Pull steps while the permit lasts; return how often the device made it rest."""
    rests = 0
    saved_s = bench.world.monotonic()

    def save() -> None:
        nonlocal saved_s
        saved_s = bench.world.monotonic()
        bench.store.pauses.save(
            bench.base, domain, session.checkpoint(), saved_s=bench.world.clock()
        )

    with Progress(bench.config.progress, f"train {domain}", session.recipe.steps) as shown:

        def changed(permit: Permit) -> None:
            nonlocal rests
            shown.say(permit.why)
            log.log(logging.INFO if permit.work else logging.WARNING, "%s", permit.why)
            if not permit.work and session.done:
                rests += 1
                save()  # a rest may last until the machine is switched off

        try:
            for step in bench.governor(limits, changed, sleep).paced(session):
                shown.at(step.index + 1, f"loss {step.loss:.3f}")
                if bench.world.monotonic() - saved_s >= bench.config.checkpoint_s:
                    save()
                if sleep is not None and sleep(0.0):
                    break  # at full duty nobody sleeps, so nobody else would ask
        finally:
            if session.done:
                save()  # Ctrl-C loses nothing, and the judging that follows may be long
    return rests


def _sealed(
    bench: Workbench, session: Session, domain: str, trained_on: int
) -> tuple[Patch, Measure]:
    """Seal what was learnt, with what it measures on the own holdout."""
    adapter = session.adapter()
    held = evidence.holdout(bench, domain)
    before: Sequence[float] = ()
    after: Sequence[float] = ()
    own: Measure = too_few(len(held))
    if held:
        before = panel.current(bench).serve(bench.engine, domain)(held)
        after = bench.engine.losses(held, adapter, "answer")
        own = paired_gain(before, after, seed=bench.config.seed)
    receipt = Receipt(
        steps=session.done,
        tokens=session.tokens,
        records=1 << (trained_on - 1).bit_length(),
        loss_before=_mean(before),
        loss_after=_mean(after),
    )
    card = router.card(bench.engine.losses(held, adapter, "prompt")) if held else None
    patch = feed.publishable(bench, adapter, domain, card=card, receipt=receipt, shared_a=True)
    return patch, own


def _mean(losses: Sequence[float]) -> float | None:
    finite = [min(loss, 1_000.0) for loss in losses if not math.isnan(loss)]
    return sum(finite) / len(finite) if finite else None


def _serve(bench: Workbench, patch: Patch, own: Measure) -> int | None:
    """Commit a generation with ``patch`` as the specialist, unless it measures no better."""
    if isinstance(own, Gain) and own.low <= 0:
        return None
    return commit_specialist(bench, patch, why=f"trained. own {own}")


def commit_specialist(bench: Workbench, patch: Patch, why: str) -> int:
    """Make ``patch`` its domain's specialist; experts stay. The caller holds the writer lock."""
    claimed = patch.body.card
    ceiling = claimed.ceiling if claimed else None
    served = Served(
        patch=patch.id,
        payload=patch.body.payload_root.hex(),
        author=patch.body.author,
        median=claimed.median if claimed else None,
        ceiling=evidence.granted(bench, patch.adapter, ceiling, patch.domain),
    )
    old = bench.store.generations.current(bench.base, patch.domain)
    new = Generation(
        base=bench.base,
        domain=patch.domain,
        specialist=served,
        experts=old.experts if old else (),
        why=why,
        created_s=bench.world.clock(),
    )
    return bench.store.generations.commit(new)


def sealed(bench: Workbench, adapter: Adapter, domain: str, licence: str = "") -> Patch:
    """Make a patch of an adapter from elsewhere: a Trainer run, a folder, a merge.

    Its router card comes from this node's holdout of the domain, if there is one.

    Raises:
        UsageError: it does not fit this node's model, or is not finite.
    """
    from hivelearn.gate.measures import nonfinite

    check_domain(domain)
    bench.engine.check(adapter)
    if broken := nonfinite(adapter):
        raise UsageError(
            f"the adapter holds NaN or infinity in {broken[0]}",
            remedy="Lower the learning rate and train again; nothing was sealed.",
        )
    with bench.store.writing(f"seal {domain}"):
        held = evidence.holdout(bench, domain)
        card = router.card(bench.engine.losses(held, adapter, "prompt")) if held else None
        return feed.publishable(bench, adapter, domain, card=card, licence=licence)

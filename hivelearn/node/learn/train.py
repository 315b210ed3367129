"""The first story: corrections become an announced patch.

    ask → correct → train, a step at a time while the device permits
        → adapter → judge on the own holdout → seal → serve

Read `train` top to bottom. A training that is interrupted, by heat, by Ctrl-C
or by kill -9, goes on from its last checkpoint at the next call, bit for bit
(`resume.py` says when it must not).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hivelearn.device.limits import DeviceLimits
from hivelearn.device.permit import Permit
from hivelearn.gate.gain import Gain, Measure, too_few
from hivelearn.node import domains
from hivelearn.node.context import NodeContext
from hivelearn.node.events import (
    TrainingEnded,
    TrainingEstimated,
    TrainingStarted,
    TrainingStep,
)
from hivelearn.node.learn import estimate, forgetting, progress_bar, resume, seal
from hivelearn.node.learn.resume import Training
from hivelearn.node.merge.adopt import serve_specialist
from hivelearn.node.reports import TrainReport
from hivelearn.node.train_estimate import TrainEstimate
from hivelearn.patch.envelope import Patch
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import Step, TrainingSession


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
        UsageError: no corrections to train on, or a mistyped domain.
        WriterBusyError: another process writes to this home.
    """
    domains.check_not_mistyped(context, domain)
    with context.store.writing(f"train {domain}"):
        training = resume.begin(context, domain, recipe)
        session, patch = training.session, None
        began_s = context.environment.monotonic()
        with progress_bar.shown(context, domain, session.of):
            rested = _Pull(context, session, domain).all(limits, sleep)
        took_s = context.environment.monotonic() - began_s
        report = _told(domain, training, rested, took_s)
        if session.ended:
            patch, own = seal.seal_trained(context, session, domain, report.corrections)
            number = _serve(context, patch, own)
            general = forgetting.measured(context, patch.adapter)
            resume.note_learnt(context, domain, training)
            # Last: a crash before it repeats the end.
            context.checkpoints.clear(context.base, domain)
            report = replace(
                report,
                patch=patch.id.hex(),
                own=own,
                adopted=number is not None,
                generation=number,
                general_stated=general.stated,
                general_routed=general.routed,
            )
    context.events.publish(TrainingEnded(report))
    return patch, report


def estimated(context: NodeContext, domain: str, recipe: Recipe) -> TrainEstimate:
    """Return what :func:`train` would cost; nothing is learnt and nothing serves.

    Raises:
        UsageError: no corrections to train on, or a mistyped domain.
    """
    domains.check_not_mistyped(context, domain)
    with context.store.writing(f"estimate {domain}"):
        return estimate.probed(context, resume.begin(context, domain, recipe).session)


@dataclass
class _Pull:
    """Pulls the steps of one session and saves its checkpoints."""

    context: NodeContext
    session: TrainingSession
    domain: str
    rests: int = 0
    saved_s: float = 0.0  # monotonic
    used_bytes: int = 0  # by this process before the first step

    def all(self, limits: DeviceLimits, sleep: Callable[[float], object] | None) -> int:
        """Pull steps while the permit lasts; return how often the device made it rest."""
        context, session = self.context, self.session
        self.saved_s = began_s = context.environment.monotonic()
        self.used_bytes = context.environment.memory().used
        first = session.done
        context.events.publish(TrainingStarted(self.domain, first, session.of))
        governor = context.governor(limits, self._heed, domain=self.domain, sleep=sleep)
        try:
            for step in governor.paced(session):
                now_s, made = context.environment.monotonic(), session.done - first
                self._tell(step, made, (now_s - began_s) / made)
                if now_s - self.saved_s >= context.config.checkpoint_s:
                    self._save()
                if sleep is not None and sleep(0.0):
                    break  # at full duty nobody sleeps, so nobody else would ask
        finally:
            if session.done:
                self._save()  # Ctrl-C loses nothing, and the judging that follows may be long
        return self.rests

    def _tell(self, step: Step, made: int, step_s: float) -> None:
        """Tell a step, and what it says of the rest; rests count: they will come again."""
        done, events = self.session.done, self.context.events
        left_s = step_s * (step.of - done) if made > 1 else None
        events.publish(TrainingStep(self.domain, done, step.of, step.loss, left_s))
        if made == 1 and not self.session.ended:
            told = estimate.estimated(self.context, self.session, self.used_bytes, step_s)
            events.publish(TrainingEstimated(told))

    def _heed(self, permit: Permit) -> None:
        if not permit.work and self.session.done:
            self.rests += 1
            self._save()  # a rest may last until the machine is switched off

    def _save(self) -> None:
        context = self.context
        self.saved_s = context.environment.monotonic()
        data = self.session.checkpoint()
        context.checkpoints.save(context.base, self.domain, data, saved_s=context.clock())


def _told(domain: str, training: Training, rested: int, seconds: float) -> TrainReport:
    """Return the report of a training that has not been judged yet."""
    return TrainReport(
        domain=domain,
        patch=None,
        own=too_few(0),
        adopted=False,
        generation=None,
        steps=training.session.done,
        of_steps=training.session.of,
        corrections=len(training.learns_from),
        rested=rested,
        seconds=seconds,
        newer=training.newer,
        left_out=training.left_out,
        anew=training.anew,
        watched=training.session.watched,
        recipe=training.session.recipe,
        curve=training.session.curve,
    )


def _serve(context: NodeContext, patch: Patch, own: Measure) -> int | None:
    """Commit a generation with ``patch`` as the specialist, unless it measures no better."""
    if isinstance(own, Gain) and own.low <= 0:
        return None
    return serve_specialist(context, patch, why=f"trained. own {own}")

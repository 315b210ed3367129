"""All of it in the background until stopped: join, sync, merge, train, publish.

One thread that makes rounds. It does nothing a person could not do by hand with
`train`, `join` and `merge`; it only does it when the device is idle, on mains
power and cool. Stopping takes effect between two training steps, and the
training goes on from there next time.
"""

import threading
from dataclasses import dataclass, replace
from typing import Final, Self

from hivelearn.device.governor import RECHECK_S
from hivelearn.device.permit import Permit
from hivelearn.errors import HivelearnError, UsageError
from hivelearn.node.context import NodeContext
from hivelearn.node.events import (
    Event,
    MergeEnded,
    PermitChanged,
    RunFailed,
    TrainingEnded,
    TrunkGrown,
)
from hivelearn.node.learn import resume, train
from hivelearn.node.merge import merge
from hivelearn.node.reports import RoundReport, TrainReport, TrunkReport
from hivelearn.node.share.network import JoinOptions, NodeNetwork, Swarm
from hivelearn.node.trunk import grow

ERRORS_MAX: Final = 100
ALONE_S: Final = 60.0  # for the first part of another; then one trains by oneself
GROWING_S: Final = 2.0  # between two turns on a trunk
SLICE_S: Final = 2.0  # longer than a swarm needs to be quiet, shorter than patience


@dataclass(frozen=True, slots=True)
class Schedule:
    """When and on what to work."""

    domains: tuple[str, ...] = ()  # none: all that have corrections or a generation
    hours: str | None = None
    round_s: float = 60.0  # between two rounds
    sync_s: float = 20.0  # of one round at most

    def __post_init__(self) -> None:
        """Refuse hours that are no text; what the text says is for ``DeviceLimits`` to judge."""
        if not isinstance(self.hours, str | None):
            raise UsageError(f"hours = {self.hours!r}", remedy='Write them as "22:00-06:00".')


class BackgroundRun:
    """A node at work in the background; ``stop()`` or the end of its ``with`` block ends it.

    Attributes:
        trained: a report for each training.
        merged: a report for each merge.
        grown: a report for each trunk that was made or taken up.
        errors: why rounds ended early, the newest ``ERRORS_MAX``.
        permit: what the device said last; None if it was not measured yet.
    """

    def __init__(
        self,
        context: NodeContext,
        schedule: Schedule,
        network: NodeNetwork | None = None,
        joining: JoinOptions | None = None,
    ) -> None:
        """Join the domains, then start; without a network it works alone.

        Raises:
            UsageError: the network cannot be joined so, or the hours cannot be read.
        """
        self._context, self._schedule = context, schedule
        self._network, self._joining = network, joining or JoinOptions()
        self._limits = replace(context.config.comfort, hours=schedule.hours)
        self._stop = threading.Event()
        self._swarms: list[Swarm] = []
        self.trained: list[TrainReport] = []
        self.merged: list[RoundReport] = []
        self.grown: list[TrunkReport] = []
        self.errors: list[str] = []
        self._growing = False
        self._alone_since: dict[str, float] = {}  # domain -> monotonic seconds
        self.permit: Permit | None = None
        self._meet()  # here, so that a fabric that cannot be had is the caller's error
        self._thread = threading.Thread(target=self._live, name="hivelearn-live", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Tell whether it lives and what the device says."""
        state = "alive" if self._thread.is_alive() else "stopped"
        return f"BackgroundRun({state}; {self.permit.why if self.permit else 'not measured yet'})"

    def stop(self, wait_s: float = 60.0) -> None:
        """End the rounds and leave the swarm; waits for the step in hand. May be called twice."""
        self._stop.set()
        self._thread.join(wait_s)
        while self._swarms:
            self._swarms.pop().close()

    def __enter__(self) -> Self:
        """Work for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _domains(self) -> tuple[str, ...]:
        if self._schedule.domains:
            return self._schedule.domains
        serving = {generation.domain for generation in self._context.serving()}
        return tuple(sorted({*self._context.journal.counts(), *serving}))

    def _meet(self) -> None:
        """Join the domains that nobody joined yet: the first correction may come at midnight."""
        joined = {domain for swarm in self._swarms for domain in swarm.domains}
        new = [domain for domain in self._domains() if domain not in joined]
        if new and self._network is not None:
            self._swarms.append(self._network.join(new, self._joining))

    def _live(self) -> None:
        events = self._context.events
        governor = self._context.governor(self._limits, sleep=self._stop.wait)
        with events.subscribe(self._note):
            while not self._stop.is_set():
                try:
                    if governor.permit().work:
                        self._round()
                except HivelearnError as error:
                    events.publish(RunFailed(error.what, None))
                except Exception as error:  # noqa: BLE001 - tomorrow's corrections wait for no restart
                    events.publish(RunFailed(repr(error), error))
                self._stop.wait(self._pause_s() if governor.last.work else RECHECK_S)

    def _pause_s(self) -> float:
        """Return how long to rest before the next round: others wait for parts of a trunk."""
        return min(self._schedule.round_s, GROWING_S) if self._growing else self._schedule.round_s

    def _note(self, event: Event) -> None:
        """Keep what this run did; what a person does meanwhile happens in another thread."""
        if threading.current_thread() is not self._thread:
            return
        match event:
            case TrainingEnded(report):
                self.trained.append(report)
            case MergeEnded(report):
                self.merged.append(report)
            case TrunkGrown(report):
                self.grown.append(report)
            case PermitChanged(permit):
                self.permit = permit
            case RunFailed(what):
                self.errors.append(what)
                del self.errors[:-ERRORS_MAX]
            case _:
                pass

    def _round(self) -> None:
        self._growing = False
        self._meet()
        self._sync()
        for domain in self._domains():
            if self._stop.is_set():
                return
            if self._context.on_shelf("quarantined", domain):
                merge.merge(self._context, domain, again=False)
            if not self._grow(domain) and resume.has_news(self._context, domain):
                self._train(domain)

    def _grow(self, domain: str) -> bool:
        """Take a turn on the trunk, in company; return whether rounds go on.

        Where they do, training by oneself waits until they rest.
        """
        company = grow.company_in(self._swarms, domain)
        if not grow.in_company(self._context, domain, company):
            return False
        report = grow.grow(self._context, domain, company, self._limits, sleep=self._stop.wait)
        going = bool(report) or (report.outcome == "waiting" and self._hopes(report))
        self._growing = self._growing or going
        return going

    def _hopes(self, report: TrunkReport) -> bool:
        """Return whether to wait for parts of others: whoever is here may teach something else."""
        if report.height or report.authors:
            return True
        now_s = self._context.environment.monotonic()
        return now_s - self._alone_since.setdefault(report.domain, now_s) < ALONE_S

    def _sync(self) -> None:
        """Exchange in slices, so that nobody who wants to stop waits for absent peers."""
        left_s = self._schedule.sync_s if self._swarms else 0.0
        while left_s > 0 and not self._stop.is_set():
            slice_s = min(left_s, SLICE_S)
            if self._swarms[0].sync(slice_s).quiet:  # the network is one, whoever asks
                return
            left_s -= slice_s

    def _train(self, domain: str) -> None:
        context = self._context
        patch, report = train.train(
            context, domain, context.config.recipe, self._limits, sleep=self._stop.wait
        )
        if patch is None:
            return
        for swarm in self._swarms:
            if report.adopted and domain in swarm.domains:
                swarm.publish(patch)

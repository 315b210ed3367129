"""All of it, every night, until stopped: join, sync, merge, train, publish.

One thread that makes rounds. It does nothing a person could not do by hand with
`train`, `join` and `merge`; it only does it when the device is idle, on mains
power and cool. Stopping takes effect between two training steps, and the
training goes on from there next time.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from hivelearn.device.governor import RECHECK_S
from hivelearn.device.permit import Permit
from hivelearn.errors import HivelearnError, UsageError
from hivelearn.node.learn import resume, train
from hivelearn.node.merge import merge
from hivelearn.node.reports import MergeReport, TrainReport
from hivelearn.node.share.network import Hub, Joining, Swarm

if TYPE_CHECKING:
    from hivelearn.node.node import Node

ERRORS_MAX: Final = 100
SLICE_S: Final = 2.0  # longer than a swarm needs to be quiet, shorter than patience
log: Final = logging.getLogger("hivelearn.live")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When and on what to work."""

    domains: tuple[str, ...]
    hours: str | None
    round_s: float = 60.0  # between two rounds
    sync_s: float = 20.0  # of one round at most

    def __post_init__(self) -> None:
        """Refuse hours that are no text; what the text says is for ``DeviceLimits`` to judge."""
        if not isinstance(self.hours, str | None):
            raise UsageError(f"hours = {self.hours!r}", remedy='Write them as "22:00-06:00".')


class BackgroundRun:
    """The background life of a node; ``stop()`` or the end of its ``with`` block ends it."""

    def __init__(self, node: "Node", hub: Hub, rhythm: Rhythm, joining: Mapping[str, Any]) -> None:
        self._context, self._hub, self._rhythm = node._context, hub, rhythm  # noqa: SLF001 - its own half
        self._limits = replace(self._context.config.comfort, hours=rhythm.hours)
        self._joining = Joining.of(joining)
        self._stop = threading.Event()
        self._swarms: list[Swarm] = []
        self.trained: list[TrainReport] = []
        self.merged: list[MergeReport] = []
        self.errors: list[str] = []  # the newest ``ERRORS_MAX``
        self.permit: Permit | None = None  # the last decision, with its sentence
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
        """Live for a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _domains(self) -> tuple[str, ...]:
        if self._rhythm.domains:
            return self._rhythm.domains
        store = self._context.store
        serving = {g.domain for g in store.generations.serving(self._context.base)}
        return tuple(sorted({*store.journal.counts(), *serving}))

    def _meet(self) -> None:
        """Join the domains that nobody joined yet: the first correction may come at midnight."""
        joined = {domain for swarm in self._swarms for domain in swarm.domains}
        new = [domain for domain in self._domains() if domain not in joined]
        if new:
            self._swarms.append(self._hub.join(new, self._joining))

    def _live(self) -> None:
        governor = self._context.governor(self._limits, self._heard, sleep=self._stop.wait)
        while not self._stop.is_set():
            try:
                if governor.permit().work:
                    self._round()
            except HivelearnError as error:
                log.warning("%s", error)
                self._note(error.what)
            except Exception as error:
                # Whatever one round met, tomorrow's corrections are not to wait for a restart.
                log.exception("a bug of ours ended a round")
                self._note(repr(error))
            self._stop.wait(self._rhythm.round_s if governor.last.work else RECHECK_S)

    def _note(self, what: str) -> None:
        self.errors.append(what)
        del self.errors[:-ERRORS_MAX]

    def _heard(self, permit: Permit) -> None:
        self.permit = permit
        log.info("%s", permit.why)

    def _round(self) -> None:
        self._meet()
        self._sync()
        for domain in self._domains():
            if self._stop.is_set():
                return
            if self._context.store.shelf.list(
                state="quarantined", domain=domain, base=self._context.base
            ):
                self.merged.append(merge.merge(self._context, domain, again=False))
            if resume.has_news(self._context, domain):
                self._train(domain)

    def _sync(self) -> None:
        """Exchange in slices, so that nobody who wants to stop waits for absent peers."""
        left_s = self._rhythm.sync_s if self._swarms else 0.0
        while left_s > 0 and not self._stop.is_set():
            slice_s = min(left_s, SLICE_S)
            if self._swarms[0].sync(slice_s).quiet:  # the network is one, whoever asks
                return
            left_s -= slice_s

    def _train(self, domain: str) -> None:
        patch, report = train.train(
            self._context, domain, self._context.config.recipe, self._limits, sleep=self._stop.wait
        )
        self.trained.append(report)
        if patch is None:
            return
        for swarm in self._swarms:
            if report.adopted and domain in swarm.domains:
                swarm.publish(patch)

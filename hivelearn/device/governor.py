"""The shell around :func:`decide`: reads, sleeps, and paces any loop.

::

    for batch in Governor().paced(loader):
        train_on(batch)

Everything that touches the world comes in through the constructor, so that a
night of three hours runs in a millisecond.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from datetime import time as local_clock
from typing import Final, TypeVar

from hivelearn.bounds import Rule, a, check, real
from hivelearn.device import sensors
from hivelearn.device.decide import decide
from hivelearn.device.limits import SAFETY, DeviceLimits
from hivelearn.device.permit import NOT_MEASURED, Permit
from hivelearn.device.reading import Reading

T = TypeVar("T")

RECHECK_S: Final = 10.0  # silicon heats within seconds, a case within minutes
RULES: Final[Mapping[str, Rule]] = {
    "limits": a(DeviceLimits, "SAFETY, COMFORT or DeviceLimits of your own"),
    "recheck_s": real(0, above=True),
}


def _local_time() -> local_clock:
    return datetime.now().astimezone().time()


class Governor:
    """Decides before every step whether the machine may work, and waits while it may not."""

    def __init__(
        self,
        limits: DeviceLimits = SAFETY,
        *,
        read: Callable[[], Reading] = sensors.read,
        sleep: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        local_time: Callable[[], local_clock] = _local_time,
        recheck_s: float = RECHECK_S,
        on_change: Callable[[Permit], None] | None = None,
    ) -> None:
        """Prepare; nothing is read before the first permit is asked for.

        Args:
            limits: SAFETY, COMFORT, or your own.
            read: gives a reading and never raises.
            sleep: waits so many seconds. A true result ends the pacing, so that
                ``threading.Event().wait`` is a sleep that somebody can end.
            monotonic: seconds that never run backwards.
            local_time: the time of day here, for ``DeviceLimits.hours``.
            recheck_s: how long one reading is good for, and how long one rest lasts.
            on_change: hears of every permit that differs in duty from the last.

        Raises:
            UsageError: ``limits`` are none, or ``recheck_s`` is not positive.
        """
        check(RULES, {"limits": limits, "recheck_s": recheck_s})
        self.limits = limits
        self._read, self._sleep = read, sleep
        self._monotonic, self._local_time = monotonic, local_time
        self._recheck_s, self._on_change = recheck_s, on_change
        self._last = NOT_MEASURED
        self._read_at_s: float | None = None

    @property
    def last(self) -> Permit:
        """The permit decided last, without looking again."""
        return self._last

    def pause(self) -> None:
        """Rest until :meth:`resume`; may be called from another thread."""
        self._set(replace(self.limits, paused=True))

    def resume(self) -> None:
        """End a :meth:`pause`; the other limits still hold."""
        self._set(replace(self.limits, paused=False))

    def _set(self, limits: DeviceLimits) -> None:
        self.limits = limits
        self._read_at_s = None  # what was decided under other limits is void

    def permit(self) -> Permit:
        """Return the permit for now; reads the sensors if the last reading is too old."""
        now_s = self._monotonic()
        if self._read_at_s is not None and now_s - self._read_at_s < self._recheck_s:
            return self._last
        self._read_at_s = now_s
        before = self._last
        self._last = decide(before, self._read(), self.limits, self._local_time())
        changed = before is NOT_MEASURED or self._last.duty != before.duty
        if changed and self._on_change is not None:
            self._on_change(self._last)
        return self._last

    def paced(self, work: Iterable[T]) -> Iterator[T]:
        """Yield every item of ``work`` in order, each only when the permit allows.

        The permit is asked *before* the next item is taken, so that no item is
        ever held through a rest. The time of one step runs from asking ``work``
        for the item until the caller comes back for the next one: it covers a
        session that computes in ``next`` and a loader whose batch is computed
        on in the loop body.

        Closing this generator closes ``work`` if that is a generator too.
        """
        steps = iter(work)
        try:
            while (permit := self._wait()) is not None:
                began_s = self._monotonic()
                try:
                    step = next(steps)
                except StopIteration:
                    return
                yield step
                if self.breathe(permit, self._monotonic() - began_s):
                    return
        finally:
            if isinstance(steps, Generator):  # a file or a session belongs to its owner
                steps.close()

    def breathe(self, permit: Permit, worked_s: float) -> bool:
        """Sleep what ``permit`` asks for after ``worked_s`` of work; True if told to end."""
        pause_s = permit.pause_after(worked_s)
        return pause_s > 0 and bool(self._sleep(pause_s))

    def _wait(self) -> Permit | None:
        """Return the first permit to work, or None if the sleep says to end."""
        while not (permit := self.permit()).work:
            if self._sleep(self._recheck_s):
                return None
        return permit

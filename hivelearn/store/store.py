"""One home's memory in one object: read by anybody, written in ``writing`` blocks."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from hivelearn.files import Reached, unwatched
from hivelearn.store.blobs import Blobs
from hivelearn.store.candidates import Candidates
from hivelearn.store.checkpoints import Checkpoints
from hivelearn.store.correction import Correction
from hivelearn.store.database import Database
from hivelearn.store.errors import HomeDamagedError
from hivelearn.store.feeds import Feeds
from hivelearn.store.forked import forgets, never_freed
from hivelearn.store.generations import Generations
from hivelearn.store.home import Home
from hivelearn.store.inbox import Inbox
from hivelearn.store.journal import Journal
from hivelearn.store.lock import LOCK_WAIT_S
from hivelearn.store.marks import Marks
from hivelearn.store.offers import Offers
from hivelearn.store.reputation import Reputation
from hivelearn.store.schema import NEEDED_BLOBS
from hivelearn.store.shelf import Shelf
from hivelearn.store.trunks import Trunks
from hivelearn.store.witness import Loss, Losses, Tally, Witness, lost_rows
from hivelearn.store.witness import lost as lost_since


class Store:
    """What one home holds, a part for each kind of thing.

    Every method of the parts may be called from any thread. Reads need nothing.
    Writes need a ``with store.writing(...)`` block: each thread opens its own,
    and within a process they join instead of waiting. Each write is one
    transaction; :meth:`together` makes one of several.
    """

    def __init__(
        self,
        home: Home,
        *,
        reached: Reached = unwatched,
        lost: Callable[[Loss], object] = lambda _: None,
    ) -> None:
        """Take a home apart; nothing is read or written yet.

        Args:
            home: may be one that was not made yet; the first write makes it.
            reached: called with the name of each crash point.
            lost: called once when the database turns out to have lost something.
        """
        self.home, self._reached, self._tell_lost = home, reached, lost
        self._witness = Witness(home.path / "witness")
        self.losses = Losses(home.path / "losses.jsonl")
        self.database = Database(home.database, reached=reached, witness=self._witness)
        self.blobs = Blobs(home.blobs, home.partial, reached)
        self.shelf = Shelf(self.database)
        self.feeds = Feeds(self.database, home.path / "feeds.json", reached)
        self.offers = Offers(self.database)
        self.generations = Generations(self.database)
        self.inbox = Inbox(home.inbox, reached)
        self.journal = Journal(self.database, self.inbox)
        self.reputation = Reputation(self.database)
        self.marks = Marks(self.database)
        self.candidates = Candidates(self.database)
        self.trunks = Trunks(self.database)
        self.checkpoints = Checkpoints(self.database, self.blobs)
        self._recovered = False
        self._told: int | None = None  # how many commits were missing when it was told
        self._begin()
        forgets(self)

    def _begin(self) -> None:
        self._gate = threading.Lock()
        self._inside = 0
        self._open = ExitStack()

    def forget(self) -> None:
        """Be no writer: called in a forked child. What is open is its parent's."""
        never_freed(self._open)
        self._begin()

    @contextmanager
    def writing(self, doing: str, wait_s: float = LOCK_WAIT_S) -> Iterator["Store"]:
        """Hold the home's writer lock during the block; blocks may nest and threads join.

        The first block drains the inbox and puts right what a crash left.

        Args:
            doing: a few words for other processes, such as "train roman".
            wait_s: how long to wait for another process.

        Raises:
            WriterBusyError: another process writes; its message says which and what.
            DiskFullError, DiskReadOnlyError, LaterVersionError, HomeDamagedError.
        """
        self.home.make()
        with self._gate:
            found = self._enter(doing, wait_s) if self._inside == 0 else None
            self._inside += 1
        entered_by = os.getpid()
        try:
            self._tell(found)  # outside the gate: whoever hears of it may write
            yield self
        finally:
            if os.getpid() == entered_by:  # a forked child was never in
                self._leave()

    def together(self) -> AbstractContextManager[object]:
        """Make one transaction of all writes in the block: all of them or none."""
        return self.database.transaction()

    def remember(self, correction: Correction) -> None:
        """Store a correction without ever waiting for another process.

        Into the journal while this process writes, else into the inbox.
        """
        with self._gate:
            joined = self._inside > 0
            self._inside += joined  # or the last block could end before the write
        if not joined:
            self.home.make()
            self.inbox.leave(correction)
            return
        try:
            self.journal.add([correction])
        finally:
            self._leave()

    def loss(self) -> Loss | None:
        """Return what the database has lost and no writer has written down yet; tell it once.

        Raises:
            HomeDamagedError: it is empty beside what only a filled one can have left.
        """
        found = self._compare()
        self._tell(found)
        return found

    def all_losses(self) -> tuple[Loss, ...]:
        """Return every loss that is known, written down or not yet; see :meth:`loss`."""
        pending = self.loss()
        return (*self.losses.list(), *(() if pending is None else (pending,)))

    def _compare(self) -> Loss | None:
        acknowledged = self._witness.read()  # before the database: see witness.py
        held = self.database.tally()
        if not held.commits and not self.database.version():
            self._refuse_emptied(acknowledged)
        now_s = self.home.clock()
        return lost_since(acknowledged, held, now_s) or lost_rows(
            self.database.missing(), held, now_s
        )

    def _tell(self, found: Loss | None) -> None:
        if found is not None and found.commits != self._told:
            self._told = found.commits
            self._tell_lost(found)

    def _refuse_emptied(self, acknowledged: Tally | None) -> None:
        filled = acknowledged is not None and acknowledged.commits > 0
        if filled or any(self.home.blobs.glob("*/*")):
            raise HomeDamagedError(
                self.home.database,
                "empty or missing, beside a home that was in use",
                remedy="Restore hive.db from a backup. If there is none, go on in a new home: "
                "--home or HIVELEARN_HOME; a copy of `identity` there keeps your name.",
            )

    def _settle_loss(self) -> Loss | None:
        """Write a loss down, and go on counting from what was acknowledged."""
        found, held = self._compare(), self.database.tally()
        if found is not None:
            self.losses.add(found)
            self.database.count_from(held.commits + found.commits)
        elif held != self._witness.read():  # a crash came before it, or there is none yet
            self._witness.write(held)
        return found

    def _leave(self) -> None:
        with self._gate:
            self._inside -= 1
            if self._inside == 0:
                self._open.close()

    def _enter(self, doing: str, wait_s: float) -> Loss | None:
        """Open for writing; return what turned out to be lost."""
        with ExitStack() as opening:
            opening.enter_context(self.home.writer(doing, wait_s))
            self._compare()  # refuse a later version or an emptied file before anything is touched
            opening.enter_context(self.database.opened())
            if not self._recovered:
                self.database.check()
            self.database.migrate()
            found = self._settle_loss()
            self.journal.drain(self._reached)
            self.inbox.tidy(self.home.clock())
            self.journal.scrub()
            if not self._recovered:
                needed = {str(name) for (name,) in self.database.rows(NEEDED_BLOBS)}
                self.blobs.sweep(needed, self.home.clock())
            self._recovered = True
            opening.callback(self.journal.scrub)
            self._open = opening.pop_all()
        return found

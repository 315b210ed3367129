"""One home's memory in one object: read by anybody, written in ``writing`` blocks."""

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from hivelearn.files import Reached, unwatched
from hivelearn.store.blobs import Blobs
from hivelearn.store.candidates import Candidates
from hivelearn.store.checkpoints import Checkpoints
from hivelearn.store.correction import Correction
from hivelearn.store.database import Database
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


class Store:
    """What one home holds, a part for each kind of thing.

    Every method of the parts may be called from any thread. Reads need nothing.
    Writes need a ``with store.writing(...)`` block: each thread opens its own,
    and within a process they join instead of waiting. Each write is one
    transaction; :meth:`together` makes one of several.
    """

    def __init__(self, home: Home, *, reached: Reached = unwatched) -> None:
        self.home, self._reached = home, reached
        self.database = Database(home.database, reached=reached)
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
        self.checkpoints = Checkpoints(self.database, self.blobs)
        self._recovered = False
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
        with self._gate:
            if self._inside == 0:
                self._enter(doing, wait_s)
            self._inside += 1
        entered_by = os.getpid()
        try:
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
            self.inbox.leave(correction)
            return
        try:
            self.journal.add([correction])
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._gate:
            self._inside -= 1
            if self._inside == 0:
                self._open.close()

    def _enter(self, doing: str, wait_s: float) -> None:
        with ExitStack() as opening:
            opening.enter_context(self.home.writer(doing, wait_s))
            self.database.version()  # refuse a later version before anything is touched
            opening.enter_context(self.database.opened())
            if not self._recovered:
                self.database.check()
            self.database.migrate()
            self.journal.drain(self._reached)
            self.inbox.tidy(self.home.clock())
            self.journal.scrub()
            if not self._recovered:
                needed = {str(name) for (name,) in self.database.rows(NEEDED_BLOBS)}
                self.blobs.sweep(needed, self.home.clock())
            self._recovered = True
            opening.callback(self.journal.scrub)
            self._open = opening.pop_all()

"""One writer per home: an operating-system lock that names its holder.

The lock dies with its process, so kill -9 leaves nothing to clean; a forked child
does not hold it. The sidecar
beside it only tells people who writes; it is read only when the lock is taken,
and a stale one is overwritten by the next writer.
"""

import errno
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, SoftFileLock, Timeout

from hivelearn.files import PRIVATE, disk
from hivelearn.store.errors import NoLocksError, WriterBusyError
from hivelearn.store.forked import forgets, never_freed

LOCK_WAIT_S: Final = 1.0  # long enough for another process's one short write
DOING_MAX_CHARS: Final = 200
# What file systems say that know no locks: some network drives, some containers.
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class WriterLock:
    """Counted inside one process (any thread may join), exclusive between processes."""

    def __init__(self, home: Path, clock: Callable[[], float]) -> None:
        self._home, self._clock = home, clock
        self._sidecar = home / "writer.json"
        self._begin()
        forgets(self)

    def _begin(self) -> None:
        self._begin_lock()
        self._gate = threading.Lock()
        self._inside = 0

    def _begin_lock(self) -> None:
        # thread_local off: the thread that leaves last need not be the one that came first.
        self._lock = FileLock(self._home / "writer.lock", mode=PRIVATE, thread_local=False)

    def forget(self) -> None:
        """Hold nothing: called in a forked child. The lock is its parent's to release."""
        never_freed(self._lock)
        self._begin()

    @contextmanager
    def held(self, doing: str, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
        """Hold the lock during the block.

        Args:
            doing: a few words for whoever finds the home busy.
            wait_s: how long to wait for another process.

        Raises:
            WriterBusyError: another process, or another lock object of this one, has it.
            DiskReadOnlyError: the home cannot be written.
            NoLocksError: its file system has no locks.
        """
        with self._gate:
            if self._inside == 0:
                self._take(doing, wait_s)
            self._inside += 1
        taken_by = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == taken_by:  # in a forked child the block ends, not the lock
                with self._gate:
                    self._inside -= 1
                    if self._inside == 0:
                        self._give()

    def holder(self) -> tuple[int | None, str, float | None]:
        """Return (pid, doing, since_s) as the sidecar tells; it may be stale or absent."""
        try:
            said = json.loads(self._sidecar.read_bytes())
            return int(said["pid"]), str(said["doing"])[:DOING_MAX_CHARS], float(said["since_s"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None, "", None

    def _take(self, doing: str, wait_s: float) -> None:
        with disk(self._home):
            try:
                self._acquire(wait_s)
            except Timeout:
                raise WriterBusyError(self._home, *self.holder()) from None
            try:
                said = {
                    "pid": os.getpid(),
                    "doing": doing[:DOING_MAX_CHARS],
                    "since_s": self._clock(),
                }
                self._sidecar.write_text(json.dumps(said), encoding="utf-8")
            except BaseException:
                self._lock.release()
                raise

    def _acquire(self, wait_s: float) -> None:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="flock not supported")
                self._lock.acquire(timeout=wait_s)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise NoLocksError(self._home, str(error.strerror)) from error
            raise
        finally:
            self._refuse_soft_lock()

    def _refuse_soft_lock(self) -> None:
        """Raise NoLocksError where filelock took to files, which a killed process leaves behind."""
        if isinstance(self._lock, SoftFileLock):
            self._lock.release()
            self._begin_lock()
            raise NoLocksError(self._home, "no flock here")

    def _give(self) -> None:
        with suppress(OSError):
            self._sidecar.unlink()
        self._lock.release()

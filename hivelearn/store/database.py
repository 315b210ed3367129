"""One SQLite file: readers open it read-only, the lock's holder writes.

WAL with synchronous=FULL, because NORMAL loses acknowledged commits when the
power goes. Two connections that write or checkpoint at once can corrupt a WAL
in older SQLite releases; here there is never a second one, since readers
(mode=ro) do neither.

A read opens its own connection (a fifth of a millisecond), so any thread and
any process may read while another writes. Inside a transaction its own thread
reads what it has written so far. A file of an earlier version, which only a
writer may bring forward, is read as a copy in memory that was brought forward.
"""

import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from hivelearn.errors import HivelearnError
from hivelearn.files import (
    PRIVATE,
    DiskError,
    DiskFullError,
    DiskReadOnlyError,
    Reached,
    disk,
    unwatched,
)
from hivelearn.store.errors import (
    HomeDamagedError,
    LaterVersionError,
    NoLocksError,
    NotWritingError,
)
from hivelearn.store.forked import forgets, never_freed
from hivelearn.store.schema import MIGRATIONS, Step
from hivelearn.store.witness import Tally, Witness

BUSY_WAIT_S: Final = 5.0  # how long SQLite waits for a reader or a recovery to finish

Row: TypeAlias = tuple[Any, ...]  # the columns of a query, in its order

_REFUSALS: Final[dict[int, type[DiskError]]] = {
    sqlite3.SQLITE_FULL: DiskFullError,
    sqlite3.SQLITE_READONLY: DiskReadOnlyError,
    sqlite3.SQLITE_CANTOPEN: DiskReadOnlyError,
    sqlite3.SQLITE_PERM: DiskReadOnlyError,
    sqlite3.SQLITE_CORRUPT: HomeDamagedError,
    sqlite3.SQLITE_NOTADB: HomeDamagedError,
    sqlite3.SQLITE_IOERR: DiskError,
}
# Ours is the only writer and readers take turns, so whoever stays in the way is no hivelearn:
# another program, or a file system on which a lock is never had.
_NO_LOCKS: Final = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
}


class Database:
    """Reads for everybody, transactions for the holder of the writer lock."""

    def __init__(
        self,
        path: Path,
        migrations: Sequence[Step] = MIGRATIONS,
        reached: Reached = unwatched,
        busy_wait_s: float = BUSY_WAIT_S,
        witness: Witness | None = None,
    ) -> None:
        self.path, self._migrations, self._reached = path, migrations, reached
        self._busy_wait_s, self._witness = busy_wait_s, witness
        self._begin()
        forgets(self)

    def _begin(self) -> None:
        self._turn = threading.RLock()  # one transaction at a time
        self._writer: sqlite3.Connection | None = None
        self._depth = 0
        self._counts = False  # until its tables are those of this version

    def forget(self) -> None:
        """Have no connection: called in a forked child, which may not even close its parent's."""
        never_freed(self._writer)
        if self._witness is not None:
            self._witness.close()
        self._begin()

    def version(self) -> int:
        """Return the stored schema version, 0 if nothing is stored yet.

        Raises:
            LaterVersionError: it is beyond what this library knows.
        """
        with self._refusals():
            reader = self._open_reader()
            if reader is None:
                return 0
            with closing(reader):
                return self._known_version(reader)

    def rows(self, sql: str, args: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query; none while nothing is stored yet."""
        with self._refusals():
            if self._is_mine():
                return self._connection().execute(sql, args).fetchall()
            reader = self._open_reader()
            if reader is None:
                return []
            with closing(reader):
                found = self._known_version(reader)
                if found == len(self._migrations):
                    return reader.execute(sql, args).fetchall()
                return self._rows_brought_forward(reader, found, sql, args) if found else []

    def row(self, sql: str, args: Sequence[object] = ()) -> Row | None:
        """Return the first row of a query, or None."""
        return next(iter(self.rows(sql, args)), None)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the writing connection open. Only for the holder of the writer lock."""
        with self._refusals():
            writer = self._writer = self._open_writer()
        opened_by = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == opened_by:
                with self._turn:
                    self._writer, self._counts = None, False
                    if self._witness is not None:
                        self._witness.close()
                    with suppress(sqlite3.Error):  # its last checkpoint can be made next time
                        writer.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of the block or nothing of it; a nested block can fail by itself.

        Raises:
            NotWritingError: outside ``with store.writing(...)``.
        """
        with self._turn, self._refusals():
            writer = self._connection()
            begin, commit, undo = _boundary(self._depth)
            writer.execute(begin)
            self._depth += 1
            begun_by, before = os.getpid(), writer.total_changes
            tally = None
            try:
                yield writer
                if os.getpid() != begun_by:
                    return  # a forked child: its parent commits
                if self._depth == 1 and writer.total_changes != before:
                    tally = self._count(writer)
                self._reached("before commit")
                writer.execute(commit)
            except BaseException:
                # A full disk has rolled back by itself.
                if os.getpid() == begun_by and writer.in_transaction:
                    for step in undo:
                        writer.execute(step)
                raise
            finally:
                self._depth -= os.getpid() == begun_by
        self._reached("committed")
        if tally is not None and self._witness is not None:
            self._witness.write(tally)
            self._reached("witnessed")

    def _count(self, writer: sqlite3.Connection) -> Tally | None:
        if not self._counts:
            return None
        rows = writer.execute(
            "UPDATE tally SET commits = commits + 1 RETURNING commits, corrections, last"
        ).fetchall()
        if len(rows) != 1:
            raise HomeDamagedError(self.path, "it does not know how much was written to it")
        return Tally(*rows[0])

    def tally(self) -> Tally:
        """Return how much is held; nothing of an empty file."""
        row = self.row("SELECT commits, corrections, last FROM tally")
        return Tally(0, 0, "") if row is None else Tally(*row)

    def missing(self) -> int:
        """Return how many corrections were counted when they were kept and are not here.

        A disk that loses one page of a table, and keeps the others, leaves a file that
        SQLite finds whole.
        """
        row = self.row(
            "SELECT corrections - (SELECT count(*) FROM corrections NOT INDEXED) FROM tally"
        )
        return 0 if row is None else int(row[0])

    def count_from(self, commits: int) -> None:
        """Let the next transaction be number ``commits`` + 1, and count what is here."""
        with self.transaction() as writer:
            writer.execute(
                "UPDATE tally SET commits = ?,"
                " corrections = (SELECT count(*) FROM corrections NOT INDEXED)",
                (commits - 1,),
            )

    def compact(self) -> bool:
        """Rewrite the file without what was deleted, and empty the write-ahead log.

        secure_delete alone is not enough: balancing a B-tree leaves copies of
        rows in the gaps of pages (seen in 31 of 60 random files, SQLite 3.40.1).

        Returns:
            False while a transaction is open or a reader holds an old snapshot.
        """
        with self._turn, self._refusals():
            if self._depth:
                return False
            writer = self._connection()
            writer.execute("VACUUM")
            (busy, _, _) = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def check(self) -> None:
        """Raise HomeDamagedError unless SQLite finds the file whole."""
        with self._refusals():
            (said,) = self._connection().execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise HomeDamagedError(self.path, str(said))

    def migrate(self) -> None:
        """Bring the file to this version, each step whole or not at all.

        Raises:
            HomeDamagedError: a row that no earlier version has written.
        """
        for number in range(self.version(), len(self._migrations)):
            with self.transaction() as writer:
                self._take_step(writer, number)
        self._counts = self._witness is not None

    def _take_step(self, writer: sqlite3.Connection, number: int) -> None:
        for act in self._migrations[number]:
            try:
                writer.execute(act) if isinstance(act, str) else act(writer)
            except (ValueError, TypeError, KeyError, AttributeError, sqlite3.Error) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes say more above
                if code in _REFUSALS:
                    raise  # the disk's, and told as such
                part = "a table" if isinstance(error, sqlite3.Error) else "a row"
                what = f"{part} of version {number} cannot be read: {error!r:.200}"
                raise HomeDamagedError(self.path, what) from error
        writer.execute(f"PRAGMA user_version = {number + 1}")

    def _rows_brought_forward(
        self, reader: sqlite3.Connection, found: int, sql: str, args: Sequence[object]
    ) -> list[Row]:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
            reader.backup(copy)
            for number in range(found, len(self._migrations)):
                self._take_step(copy, number)
            return copy.execute(sql, args).fetchall()

    def _is_mine(self) -> bool:
        """Whether this thread is inside a transaction."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return self._depth > 0
        finally:
            self._turn.release()

    def _connection(self) -> sqlite3.Connection:
        if self._writer is None:
            raise NotWritingError("a write to the store outside `with store.writing(...)`")
        return self._writer

    def _make_private(self) -> None:
        """Let nobody else read what is said here; the log and its index get the same bits."""
        if not self.path.exists():  # never opened beside SQLite: closing would drop its locks
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE))
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path = self.path.with_name(self.path.name + end)
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    path.chmod(PRIVATE)

    def _open_writer(self) -> sqlite3.Connection:
        with disk(self.path):
            self._make_private()
        writer = sqlite3.connect(
            self.path, timeout=self._busy_wait_s, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "secure_delete=ON",
                "temp_store=MEMORY",
            ):
                writer.execute(f"PRAGMA {pragma}")
            if sys.platform == "darwin":
                writer.execute("PRAGMA fullfsync=ON")
        except BaseException:
            writer.close()
            raise
        return writer

    def _open_reader(self) -> sqlite3.Connection | None:
        if not self.path.exists():
            return None
        uri = f"{self.path.as_uri()}?mode=ro"
        reader = sqlite3.connect(uri, uri=True, timeout=self._busy_wait_s, isolation_level=None)
        try:
            reader.execute("PRAGMA user_version")
        except BaseException as error:
            reader.close()
            if not isinstance(error, sqlite3.OperationalError):
                raise  # no database at all
            if error.sqlite_errorcode in _NO_LOCKS:
                raise  # each further try would wait as long
            log = self.path.with_name(f"{self.path.name}-wal")
            if log.exists() and log.stat().st_size:
                raise
            # A read-only directory: SQLite may not make the WAL's index there, and with
            # no log there is nothing to index.
            reader = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
        return reader

    def _known_version(self, reader: sqlite3.Connection) -> int:
        (found,) = reader.execute("PRAGMA user_version").fetchone()
        if found > len(self._migrations):
            raise LaterVersionError(self.path, found, len(self._migrations))
        return int(found)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except HivelearnError:
            raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code in _NO_LOCKS:
                raise NoLocksError(self.path, str(error)) from error
            kind = _REFUSALS.get(code & 0xFF)  # the low byte is the family
            if kind is None:
                raise  # a wrong statement is a bug of ours
            raise kind(self.path, str(error)) from error


def _boundary(depth: int) -> tuple[str, str, tuple[str, ...]]:
    if depth == 0:
        return "BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)
    name = f"nested_{depth}"
    return f"SAVEPOINT {name}", f"RELEASE {name}", (f"ROLLBACK TO {name}", f"RELEASE {name}")

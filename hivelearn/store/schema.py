"""The tables of hive.db, as steps that only go forward.

Step n turns version n into n + 1 (SQLite's ``user_version``): statements, and
functions where a statement cannot say it. A released step is never edited: the
homes that ran it are out there.

Ids and keys are 32-byte blobs, blob names lowercase hex, times seconds since
1970 as SQLite REAL (a double, so Python floats return unchanged).
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from hivelearn.store import settings_v1

Step = Sequence[str | Callable[[sqlite3.Connection], None]]

_ONE: Final = (
    # The shelf. (device, epoch, seq) is not unique: two ids for one are evidence.
    """CREATE TABLE patches (
        id BLOB PRIMARY KEY, author BLOB NOT NULL, device BLOB NOT NULL,
        epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
        domain TEXT NOT NULL, base BLOB NOT NULL, envelope BLOB NOT NULL,
        payload TEXT, state TEXT NOT NULL, verdict TEXT, reason TEXT NOT NULL,
        arrived_s REAL NOT NULL)""",
    "CREATE INDEX patches_by_feed ON patches (device, epoch, seq)",
    # In which topics a patch is offered: it was published there, or heard there.
    """CREATE TABLE offers (
        topic BLOB NOT NULL, patch BLOB NOT NULL, PRIMARY KEY (topic, patch)) WITHOUT ROWID""",
    """CREATE TABLE feeds (
        device BLOB NOT NULL, epoch INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (device, epoch)) WITHOUT ROWID""",
    # A generation is never updated; `undoes` names the commit that a rollback took back.
    """CREATE TABLE generations (
        base BLOB NOT NULL, domain TEXT NOT NULL, number INTEGER NOT NULL,
        why TEXT NOT NULL, report TEXT NOT NULL, created_s REAL NOT NULL, undoes INTEGER,
        PRIMARY KEY (base, domain, number)) WITHOUT ROWID""",
    # slot 0 is the specialist, 1... are the experts in their order.
    """CREATE TABLE served (
        base BLOB NOT NULL, domain TEXT NOT NULL, number INTEGER NOT NULL, slot INTEGER NOT NULL,
        patch BLOB, payload TEXT NOT NULL, author BLOB NOT NULL, median REAL, ceiling REAL,
        PRIMARY KEY (base, domain, number, slot),
        FOREIGN KEY (base, domain, number) REFERENCES generations) WITHOUT ROWID""",
    """CREATE TABLE candidates (
        number INTEGER PRIMARY KEY AUTOINCREMENT, base BLOB NOT NULL, domain TEXT NOT NULL,
        payload TEXT, detail TEXT NOT NULL, created_s REAL NOT NULL)""",
    # prompt is the hash of the normalised question; messages is JSON.
    """CREATE TABLE corrections (
        id TEXT PRIMARY KEY, prompt BLOB NOT NULL, holdout INTEGER NOT NULL,
        messages TEXT NOT NULL, wrong TEXT, correct TEXT NOT NULL,
        domain TEXT NOT NULL, subject TEXT, base BLOB NOT NULL, generation INTEGER,
        created_s REAL NOT NULL)""",
    """CREATE TABLE vouches (
        author BLOB PRIMARY KEY, note TEXT NOT NULL, at_s REAL NOT NULL,
        withdrawn_s REAL) WITHOUT ROWID""",
    """CREATE TABLE evidence (
        author BLOB PRIMARY KEY, ok REAL NOT NULL, bad REAL NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE checkpoints (
        base BLOB NOT NULL, domain TEXT NOT NULL, payload TEXT NOT NULL, saved_s REAL NOT NULL,
        PRIMARY KEY (base, domain)) WITHOUT ROWID""",
)

# What lay as JSON in `settings` gets columns, so that a write touches one row.
_TWO: Final = (
    # What this node judged of an author: counts that fade, and two that do not.
    """CREATE TABLE standings (
        author BLOB PRIMARY KEY, good REAL NOT NULL, bad REAL NOT NULL,
        successes INTEGER NOT NULL, harms INTEGER NOT NULL) WITHOUT ROWID""",
    # The judgement of a patch that its author's standing knows of.
    "CREATE TABLE heard (patch BLOB PRIMARY KEY, judgement TEXT NOT NULL) WITHOUT ROWID",
    # Refused at the door since the domain's last merge; `number` says in which order.
    """CREATE TABLE faults (
        number INTEGER PRIMARY KEY AUTOINCREMENT, author BLOB NOT NULL, domain TEXT NOT NULL,
        UNIQUE (author, domain))""",
    # When a stranger's patch was measured last, and in which state of the node.
    """CREATE TABLE turns (
        patch BLOB PRIMARY KEY, domain TEXT NOT NULL, state TEXT NOT NULL,
        number INTEGER NOT NULL) WITHOUT ROWID""",
    # What a rollback took out of service, until its owner asks for it.
    """CREATE TABLE taken_back (
        base BLOB NOT NULL, domain TEXT NOT NULL, patch BLOB NOT NULL,
        PRIMARY KEY (base, domain, patch)) WITHOUT ROWID""",
    # Corrections that a model cannot read.
    """CREATE TABLE left_out (
        base BLOB NOT NULL, correction TEXT NOT NULL, why TEXT NOT NULL,
        PRIMARY KEY (base, correction)) WITHOUT ROWID""",
    # What a domain's last whole training learnt from.
    """CREATE TABLE learnt (
        base BLOB NOT NULL, domain TEXT NOT NULL, digest TEXT NOT NULL,
        PRIMARY KEY (base, domain)) WITHOUT ROWID""",
    # What a process began and the next writer ends: 'scrub', a forgetting.
    "CREATE TABLE unfinished (task TEXT PRIMARY KEY) WITHOUT ROWID",
    settings_v1.convert,
    "DROP TABLE settings",
    "DROP TABLE evidence",  # nothing ever wrote it
)

# A claim has two bounds. An expert of before has one alone: it answers where its domain is stated.
_FLOORS: Final = ("ALTER TABLE served ADD COLUMN floor REAL",)

MIGRATIONS: Final[tuple[Step, ...]] = (_ONE, _TWO, _FLOORS)

# Every blob that some row still needs. A refused patch's payload is not among them.
NEEDED_BLOBS: Final = """
    SELECT payload FROM patches WHERE payload IS NOT NULL AND state != 'refused'
    UNION SELECT payload FROM served UNION SELECT payload FROM checkpoints
    UNION SELECT payload FROM candidates WHERE payload IS NOT NULL"""

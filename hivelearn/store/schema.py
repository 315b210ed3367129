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

from hivelearn.store import settings_v1, standings_v2

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

# A feed for each swarm in place of the device's one.
_FEEDS: Final = (
    "ALTER TABLE patches ADD COLUMN prev BLOB",
    # The own feeds: an epoch each, the newest of a swarm is the one that is signed in.
    """CREATE TABLE own_epochs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, swarm BLOB NOT NULL, epoch INTEGER NOT NULL,
        last INTEGER NOT NULL, why TEXT NOT NULL, begun_s REAL NOT NULL)""",
    # Epochs that are not one history: nothing behind `agreed` is taken any more.
    """CREATE TABLE forks (
        device BLOB NOT NULL, epoch INTEGER NOT NULL, author BLOB NOT NULL,
        agreed INTEGER NOT NULL, found_s REAL NOT NULL,
        PRIMARY KEY (device, epoch)) WITHOUT ROWID""",
    # In the old feed each record named the one before, of whatever swarm: none is told again.
    "DELETE FROM offers WHERE patch IN (SELECT id FROM patches WHERE state = 'own')",
    "DROP TABLE feeds",
)

# What was acknowledged, counted where it is written: the witness outside repeats it.
_TALLY: Final = (
    """CREATE TABLE tally (
        commits INTEGER NOT NULL, corrections INTEGER NOT NULL, last TEXT NOT NULL)""",
    """INSERT INTO tally SELECT 0, (SELECT count(*) FROM corrections), ifnull(
        (SELECT id FROM corrections ORDER BY rowid DESC LIMIT 1), '')""",
    """CREATE TRIGGER correction_kept AFTER INSERT ON corrections BEGIN
        UPDATE tally SET corrections = corrections + 1, last = NEW.id; END""",
    # An id is a hash of what was said: it must not outlive what is forgotten.
    """CREATE TRIGGER correction_gone AFTER DELETE ON corrections BEGIN
        UPDATE tally SET corrections = corrections - 1,
        last = CASE last WHEN OLD.id THEN '' ELSE last END; END""",
)

# What speaks for an author is bound to updates that are here, and so to their domains.
_EVIDENCE: Final = (
    # `worth` fades with every round; `compared` says whether it was looked for a copy.
    """CREATE TABLE evidence (
        patch BLOB PRIMARY KEY, judgement TEXT NOT NULL, worth REAL NOT NULL,
        compared INTEGER NOT NULL) WITHOUT ROWID""",
    # What speaks against an author is bound to the key, in every domain.
    """CREATE TABLE blame (
        author BLOB PRIMARY KEY, bad REAL NOT NULL, harms INTEGER NOT NULL) WITHOUT ROWID""",
    standings_v2.convert,
    "DROP TABLE standings",
    "DROP TABLE heard",
    # The device that told of a patch first; NULL where nobody noted it.
    "ALTER TABLE patches ADD COLUMN relay BLOB",
)

# A claim has two bounds. An expert of before has one alone: it answers where its domain is stated.
_FLOORS: Final = ("ALTER TABLE served ADD COLUMN floor REAL",)

# Rounds: what a record builds on, and the trunks that they make.
_TRUNKS: Final = (
    # NULL where a record stands alone.
    "ALTER TABLE patches ADD COLUMN onto BLOB",
    """CREATE TABLE trunks (
        number INTEGER PRIMARY KEY AUTOINCREMENT, base BLOB NOT NULL, domain TEXT NOT NULL,
        id BLOB NOT NULL, onto BLOB NOT NULL, height INTEGER NOT NULL, parts INTEGER NOT NULL,
        payload TEXT, made_of TEXT NOT NULL, loss REAL, said TEXT NOT NULL, lost REAL NOT NULL,
        created_s REAL NOT NULL, UNIQUE (base, id))""",
    # Parts that made a round worse, by the root of their payload.
    """CREATE TABLE left_parts (
        base BLOB NOT NULL, domain TEXT NOT NULL, root BLOB NOT NULL, why TEXT NOT NULL,
        PRIMARY KEY (base, domain, root)) WITHOUT ROWID""",
)

MIGRATIONS: Final[tuple[Step, ...]] = (
    _ONE,
    _TWO,
    (*_FEEDS, *_TALLY, *_EVIDENCE, *_FLOORS),
    _TRUNKS,
)

# Every blob that some row still needs. A refused patch's payload is not among them.
NEEDED_BLOBS: Final = """
    SELECT payload FROM patches WHERE payload IS NOT NULL AND state != 'refused'
    UNION SELECT payload FROM served UNION SELECT payload FROM checkpoints
    UNION SELECT payload FROM candidates WHERE payload IS NOT NULL
    UNION SELECT payload FROM trunks WHERE payload IS NOT NULL"""

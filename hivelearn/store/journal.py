"""All corrections of a home: listed, counted, drained from the inbox, forgotten.

The same question corrected again in the same domain supersedes the earlier
answer; the earlier one stays as history. Time orders them, and the journal sees
to it that a clock which ran back makes nobody's last word an old one.

One question in five is held out by its hash. The only question of a domain never is:
what is held out of one correction leaves nothing to learn. From its second question on
a domain goes by the hash alone, so every node and every time divides it alike.

Forgetting is real: the rows are deleted, the file is rewritten without them and
the write-ahead log emptied, and if the process dies in between, the next writer
finishes it.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hivelearn.store.correction import TIME_MAX_S, Correction, check_domain, to_conversation
from hivelearn.store.database import Database, Row
from hivelearn.store.errors import ForgetWhatError, UnknownCorrectionError
from hivelearn.store.exports import to_dataset, to_jsonl, write_lines
from hivelearn.store.imports import Defaults, ImportReport, read_corrections
from hivelearn.store.inbox import Inbox

if TYPE_CHECKING:
    from datasets import Dataset

_COLUMNS: Final = (
    "messages, correct, domain, base, created_s, wrong, subject, generation, id, prompt, holdout"
)
_SCRUB: Final = "scrub"  # an unfinished task: deleted text may still be in the files
ID_DIGITS_MIN: Final = 8  # of an id that is shortened; four corrections in a million share eight


@dataclass(frozen=True, slots=True)
class Count:
    """How many questions of a domain may be trained on and how many judge."""

    training: int
    holdout: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What :meth:`Journal.forget` did."""

    ids: tuple[str, ...]  # of the corrections that are gone
    domains: tuple[str, ...]  # that they were of
    bytes_gone: bool  # False: a reader holds the old state; the next writer finishes

    @property
    def corrections(self) -> int:
        """How many are gone, superseded answers among them."""
        return len(self.ids)


class Journal:
    """The corrections of one home. Reads include what waits in the inbox."""

    def __init__(self, database: Database, inbox: Inbox) -> None:
        self._db, self._inbox = database, inbox

    def add(self, corrections: Iterable[Correction]) -> int:
        """Store corrections, all or none; return how many were new.

        What was said before is no new correction, only said again: it gets the later
        time, for a person who returns to an earlier answer has spoken last.
        """
        with self._db.transaction() as writer:
            before = self._count()
            writer.executemany(
                f"INSERT INTO corrections ({_COLUMNS})"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " created_s = excluded.created_s, base = excluded.base,"
                " generation = excluded.generation, wrong = ifnull(excluded.wrong, wrong)"
                " WHERE excluded.created_s > created_s",
                map(_to_row, corrections),
            )
            return self._count() - before

    def _count(self) -> int:
        row = self._db.row("SELECT count(*) FROM corrections")
        assert row is not None
        return int(row[0])

    def now(self, clock_s: float, domain: str | None = None) -> float:
        """Return the time of a correction made now: later than any here of its domain.

        That is what the clock says, unless it stands or has run back since the last one.

        Args:
            clock_s: seconds since 1970.
            domain: that it is about; None: it may be any.
        """
        row = self._db.row(
            "SELECT max(created_s) FROM corrections WHERE domain = ifnull(?, domain)", (domain,)
        )
        ahead = [c.created_s for c in self._inbox.since(clock_s) if domain in (None, c.domain)]
        if row is not None and row[0] is not None:
            ahead.append(row[0])
        newest_s = max(ahead, default=-math.inf)
        if newest_s < clock_s:
            return clock_s
        # Names in the inbox tell microseconds; far from 1970 a double cannot tell even that.
        return min(math.nextafter(newest_s + 1e-6, math.inf), TIME_MAX_S)

    def find(self, name: str) -> Correction:
        """Return the correction whose id is, or begins with, ``name``.

        Raises:
            UnknownCorrectionError: none, or more than one.
        """
        found = [c for c in self._all() if len(name) >= ID_DIGITS_MIN and c.id.startswith(name)]
        if len(found) != 1:
            which = "no correction has the id" if not found else "several corrections begin with"
            raise UnknownCorrectionError(f"{which} {name!r:.80}")
        return found[0]

    def list(
        self, domain: str | None = None, *, holdout: bool | None = None, superseded: bool = False
    ) -> tuple[Correction, ...]:
        """Return corrections, oldest first.

        Args:
            domain: only these; None means all.
            holdout: True for those that judge, False for those to train on, None for both;
                the only question of its domain is to train on.
            superseded: include answers that were corrected again later.
        """
        found = self._all(domain)
        alone = _alone((c.domain, c.prompt) for c in found)
        if not superseded:
            found = latest(found)
        return tuple(
            c
            for c in found
            if holdout is None or (c.holdout and (c.domain, c.prompt) not in alone) == holdout
        )

    def counts(self) -> dict[str, Count]:
        """Return per domain the number of different questions, sorted by domain."""
        waiting = {(c.domain, c.prompt, c.holdout) for c in self._inbox.waiting()}
        stored = self._db.rows("SELECT DISTINCT domain, prompt, holdout FROM corrections")
        questions = waiting | {(d, p, bool(h)) for d, p, h in stored}
        alone = _alone((domain, prompt) for domain, prompt, _ in questions)
        held: dict[str, list[bool]] = {}
        for domain, prompt, holdout in questions:
            held.setdefault(domain, []).append(holdout and (domain, prompt) not in alone)
        return {
            domain: Count(training=held[domain].count(False), holdout=held[domain].count(True))
            for domain in sorted(held)
        }

    def forget(self, *, correction: str | None = None, domain: str | None = None) -> Forgotten:
        """Delete one correction, or a domain's, so that no file of the home holds its text.

        Superseded answers to a forgotten question go with it. What a model has
        learned stays learned; train again for that.
        """
        if (correction is None) == (domain is None):
            raise ForgetWhatError("forget either one correction or one domain")
        self.drain()
        if correction is not None:
            found = self.find(correction)
            said = [c for c in self._all(found.domain) if c.prompt == found.prompt]
        else:
            check_domain(domain)
            said = list(self._all(domain))
        with self._db.transaction() as writer:
            gone = [(c.id,) for c in said]
            writer.executemany("DELETE FROM corrections WHERE id = ?", gone)
            writer.executemany("DELETE FROM left_out WHERE correction = ?", gone)
            if gone:
                writer.execute("INSERT OR REPLACE INTO unfinished VALUES (?)", (_SCRUB,))
        ids, domains = {c.id for c in said}, {c.domain for c in said}
        return Forgotten(tuple(sorted(ids)), tuple(sorted(domains)), bytes_gone=self.scrub())

    def scrub(self) -> bool:
        """Finish an earlier :meth:`forget` if one is unfinished; say whether none is."""
        if self._db.row("SELECT 1 FROM unfinished WHERE task = ?", (_SCRUB,)) is None:
            return True
        if not self._db.compact():
            return False
        with self._db.transaction() as writer:
            writer.execute("DELETE FROM unfinished WHERE task = ?", (_SCRUB,))
        return True

    def drain(self, drained: Callable[[str], None] = lambda _: None) -> int:
        """Move the inbox into the journal; return how many corrections were new."""
        waiting = self._inbox.waiting()
        if not waiting:
            return 0
        new = self.add(waiting)
        drained("drained")
        self._inbox.discard(waiting)
        return new

    def import_from(self, path: Path, defaults: Defaults) -> ImportReport:
        """Store every row of a file or none; see :mod:`hivelearn.store.import_shapes`.

        Raises:
            ImportLineError: the first row that cannot be taken, by number.
        """
        read = read_corrections(path, defaults)
        return ImportReport(len(read.corrections), self.add(read.corrections), read.passed_over)

    def export_to(self, path: Path, domain: str | None = None) -> int:
        """Write the lines of :meth:`to_jsonl`; return how many."""
        lines = self.to_jsonl(domain)
        write_lines(path, lines)
        return lines.count("\n")

    def to_jsonl(self, domain: str | None = None) -> str:
        """Return corrections, superseded ones too, as :meth:`import_from` reads them."""
        judges = {c.id for c in self.list(domain, holdout=True, superseded=True)}
        return to_jsonl(self.list(domain, superseded=True), judges)

    def to_dataset(self, domain: str | None = None, *, holdout: bool | None = None) -> "Dataset":
        """Return the corrections of :meth:`list` as a ``datasets.Dataset``."""
        judges = {c.id for c in self.list(domain, holdout=True)}
        return to_dataset(self.list(domain, holdout=holdout), judges)

    def _all(self, domain: str | None = None) -> tuple[Correction, ...]:
        # The inbox first: what a writer drains in between is then seen twice, not never.
        found = [c for c in self._inbox.waiting() if domain in (None, c.domain)]
        rows = self._db.rows(
            f"SELECT {_COLUMNS} FROM corrections WHERE domain = ifnull(?, domain)",  # noqa: S608
            (domain,),
        )
        found += map(_from_row, rows)
        said = {c.id: c for c in sorted(found, key=_age)}  # the last time counts
        return tuple(sorted(said.values(), key=_age))


def latest(corrections: Iterable[Correction]) -> tuple[Correction, ...]:
    """Return the last answer to each question of each domain, oldest first."""
    last = {(c.domain, c.prompt): c for c in sorted(corrections, key=_age)}
    return tuple(sorted(last.values(), key=_age))


def _alone(questions: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Return the questions, each a domain and a hash, that are the only one of their domain."""
    asked: dict[str, set[bytes]] = {}
    for domain, prompt in questions:
        asked.setdefault(domain, set()).add(prompt)
    return {(domain, min(prompts)) for domain, prompts in asked.items() if len(prompts) == 1}


def _age(correction: Correction) -> tuple[float, str]:
    return correction.created_s, correction.id


def _to_row(c: Correction) -> Row:
    messages = json.dumps([{"role": m.role, "content": m.content} for m in c.messages])
    given = (messages, c.right, c.domain, c.base, c.created_s, c.wrong, c.subject, c.generation)
    return (*given, c.id, c.prompt, c.holdout)


def _from_row(row: Row) -> Correction:
    return Correction(to_conversation(json.loads(row[0])), *row[1:8])

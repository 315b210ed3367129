"""What homes of schema version 1 kept as JSON, brought into the tables of version 2.

There it lay under seven kinds of keys in one table of settings. The figures are
read by Python and not by SQLite, whose older releases lose the last bit of a number.
"""

import json
import sqlite3
from collections.abc import Callable
from typing import Any, Final

Write = Callable[[sqlite3.Connection, str, Any], object]  # the rest of the key, the value


def convert(writer: sqlite3.Connection) -> None:
    """Write every setting into its table. The caller drops the settings and holds a transaction.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: version 1 cannot have written it.
    """
    for key, value in writer.execute("SELECT key, value FROM settings").fetchall():
        kind, _, rest = key.partition("/")
        _TABLES[kind](writer, rest, json.loads(value))


def _standings(writer: sqlite3.Connection, _: str, found: dict[str, Any]) -> None:
    writer.executemany(
        "INSERT INTO standings VALUES (?, ?, ?, ?, ?)",
        [
            (
                bytes.fromhex(author),
                each["evidence"]["good"],
                each["evidence"]["bad"],
                each["successes"],
                each["harms"],
            )
            for author, each in found.items()
        ],
    )


def _heard(writer: sqlite3.Connection, _: str, found: dict[str, str]) -> None:
    rows = [(bytes.fromhex(patch), judgement) for patch, judgement in found.items()]
    writer.executemany("INSERT INTO heard VALUES (?, ?)", rows)


def _faults(writer: sqlite3.Connection, _: str, found: list[list[str]]) -> None:
    rows = [(bytes.fromhex(author), domain) for author, domain in found]
    writer.executemany("INSERT INTO faults (author, domain) VALUES (?, ?)", rows)


def _turns(writer: sqlite3.Connection, domain: str, found: dict[str, Any]) -> None:
    rows = [(bytes.fromhex(patch), domain, *turn) for patch, turn in found.items()]
    writer.executemany("INSERT INTO turns VALUES (?, ?, ?, ?)", rows)


def _taken_back(writer: sqlite3.Connection, about: str, found: list[str]) -> None:
    base, _, domain = about.partition("/")
    rows = [(bytes.fromhex(base), domain, bytes.fromhex(patch)) for patch in found]
    writer.executemany("INSERT INTO taken_back VALUES (?, ?, ?)", rows)


def _left_out(writer: sqlite3.Connection, base: str, found: dict[str, str]) -> None:
    rows = [(bytes.fromhex(base), correction, why) for correction, why in found.items()]
    writer.executemany("INSERT INTO left_out VALUES (?, ?, ?)", rows)


def _learnt(writer: sqlite3.Connection, about: str, digest: str) -> None:
    base, _, domain = about.partition("/")
    writer.execute("INSERT INTO learnt VALUES (?, ?, ?)", (bytes.fromhex(base), domain, digest))


def _unscrubbed(writer: sqlite3.Connection, _: str, __: object) -> None:
    writer.execute("INSERT INTO unfinished VALUES ('scrub')")


_TABLES: Final[dict[str, Write]] = {
    "standings": _standings,
    "heard": _heard,
    "faults at the door": _faults,
    "turns": _turns,
    "taken back": _taken_back,
    "left out": _left_out,
    "learnt": _learnt,
    "journal.unscrubbed": _unscrubbed,
}

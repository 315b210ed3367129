"""What homes of schema version 2 knew of authors, brought into the tables of version 3.

There a success was a number of its author. Now it is bound to the update that earned
it: what is still on the shelf speaks on, and is looked at for copies before it counts.
"""

import sqlite3


def convert(writer: sqlite3.Connection) -> None:
    """Write standings and verdicts into their tables. The caller drops the old ones."""
    writer.execute("INSERT INTO blame SELECT author, bad, harms FROM standings")
    writer.execute(
        "INSERT INTO evidence SELECT patch, judgement, 0.0, 0 FROM heard WHERE patch IN"
        " (SELECT id FROM patches)"
    )
    for author, good, successes in writer.execute(
        "SELECT author, good, successes FROM standings"
    ).fetchall():
        earned = writer.execute(
            "SELECT patch FROM evidence JOIN patches ON id = patch WHERE author = ?"
            " AND judgement = 'success' ORDER BY arrived_s DESC, patches.rowid DESC",
            (author,),
        ).fetchall()
        # What a harm has taken back lies before those that count.
        void, kept = earned[successes:], earned[:successes]
        writer.executemany("UPDATE evidence SET judgement = 'void' WHERE patch = ?", void)
        writer.executemany(
            "UPDATE evidence SET worth = ? WHERE patch = ?",
            [(min(1.0, good / len(kept)), patch) for (patch,) in kept],
        )

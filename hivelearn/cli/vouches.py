"""`hivelearn vouches`: for whom one has vouched."""

import json
from dataclasses import dataclass, field

from hivelearn.cli.command import DONE, AsJson, NodeOptions


@dataclass(frozen=True, slots=True)
class VouchesCommand:
    """What `vouches` was given."""

    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def vouches(wanted: VouchesCommand) -> int:
    """List for whom you vouched, withdrawn vouches too; loads no model."""
    import time

    from hivelearn.identity import full_name, short_name
    from hivelearn.report.table import Table

    found = wanted.node.open(existing=True).store.reputation.vouches(withdrawn=True)

    def day(at_s: float | None) -> str | None:
        return None if at_s is None else time.strftime("%Y-%m-%d", time.gmtime(at_s))

    rows = [
        {
            "author": short_name(vouch.author),
            "since": day(vouch.at_s),
            "withdrawn": day(vouch.withdrawn_s),
            "note": vouch.note,
            "key": full_name(vouch.author),
        }
        for vouch in found
    ]
    if wanted.json:
        print(json.dumps({"vouches": rows}))
    elif rows:
        print(Table.of([row | {"withdrawn": row["withdrawn"] or ""} for row in rows]))
    else:
        print("no vouches: `hivelearn vouch KEY` for somebody you know")
    return DONE

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
    """List for whom you vouched.

    Withdrawn vouches too; loads no model.
    """
    from hivelearn.identity import full_name, short_name
    from hivelearn.node.trust_table import day
    from hivelearn.report.table import Table

    found = wanted.node.open(existing=True).store.reputation.vouches(withdrawn=True)

    rows = [
        {
            "author": short_name(vouch.author),
            "since": day(vouch.at_s),
            "withdrawn": None if vouch.withdrawn_s is None else day(vouch.withdrawn_s),
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

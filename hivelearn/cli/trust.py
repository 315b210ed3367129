"""`hivelearn trust`: whom the node believes, how much and why."""

from dataclasses import dataclass, field

from hivelearn.cli.command import DONE, AsJson, NodeOptions


@dataclass(frozen=True, slots=True)
class TrustCommand:
    """What `trust` was given."""

    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def trust(wanted: TrustCommand) -> int:
    """Tell whom the node believes, how much and why.

    Loads no model.
    """
    from hivelearn.node.trust_table import read_trust

    found = read_trust(wanted.node.open(existing=True))
    print(found.to_json() if wanted.json else found)
    return DONE

"""`hivelearn rollback`: a domain's previous state serves again."""

from dataclasses import dataclass, field

from hivelearn.cli.command import DONE, DomainArgument, NodeOptions


@dataclass(frozen=True, slots=True)
class RollbackCommand:
    """What `rollback` was given."""

    domain: DomainArgument
    node: NodeOptions = field(default_factory=NodeOptions)


def rollback(wanted: RollbackCommand) -> int:
    """Serve a domain's previous state again."""
    from hivelearn.node.merge import rollback

    context = wanted.node.open(existing=True)
    now = rollback.rollback(context, wanted.domain)
    print(now)
    if taken := rollback.taken_back(context, wanted.domain):
        rest = "1 patch rests" if len(taken) == 1 else f"{len(taken)} patches rest"
        print(f"{rest} in the sandbox; `hivelearn adopt {wanted.domain}` judges again")
    return DONE

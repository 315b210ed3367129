"""`hivelearn adopt`: judge what arrived."""

from dataclasses import dataclass, field

from hivelearn.cli.command import DONE, NO_LIFT, AsJson, DomainArgument, NodeOptions


@dataclass(frozen=True, slots=True)
class AdoptCommand:
    """What `adopt` was given."""

    domain: DomainArgument
    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def adopt(wanted: AdoptCommand) -> int:
    """Judge what arrived; serve what passes.

    What a rollback took out is judged again, too.

    A patch for a domain of your own is merged, and the merge serves only if it
    measures better. A patch for another domain is admitted as an expert if its
    author is trusted and nothing of yours is harmed.

    Exit code 0: something serves that did not. 1: nothing changed.
    """
    from hivelearn.node.merge import merge

    context = wanted.node.open(existing=True)
    report = merge.merge(context, wanted.domain)
    print(report.to_json() if wanted.json else report)
    return DONE if report else NO_LIFT

"""Which domains this node has heard of; a mistyped one is not answered by the base in silence."""

from typing import Final

from hivelearn.bounds import nearest
from hivelearn.errors import UsageError
from hivelearn.node.context import NodeContext

_NAMED: Final = 8  # of all there are, in a message


def known(context: NodeContext) -> set[str]:
    """Return the domains that were joined, or have corrections, a generation or any patch."""
    served = {generation.domain for generation in context.serving()}
    shelved = {entry.domain for entry in context.shelf.list(base=context.base)}
    return served | shelved | context.joined | set(context.journal.counts())


def check_known(context: NodeContext, domain: str) -> None:
    """Raise UsageError if nothing here is about ``domain``."""
    if any(generation.domain == domain for generation in context.serving()):
        return  # the usual case, without a look at the journal
    names = known(context)
    if domain in names:
        return
    near = nearest(domain, names)
    if near is not None:
        todo = f"Did you mean {near!r}?"
    elif names:
        shown = ", ".join(sorted(names)[:_NAMED])
        todo = f"There is: {shown}; or leave the domain out, and the router decides."
    else:
        todo = "Leave the domain out; there are no corrections and no patches yet."
    raise UsageError(f"nothing here is about {domain!r}", remedy=todo)

"""Which domains this node has heard of; a mistyped one is not answered by the base in silence."""

from difflib import get_close_matches
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.node.context import NodeContext

_NAMED: Final = 8  # of all there are, in a message


def known(context: NodeContext) -> set[str]:
    """Return the domains that have corrections, a generation, or a patch in any state."""
    served = {generation.domain for generation in context.serving()}
    shelved = {entry.domain for entry in context.shelf.list(base=context.base)}
    return served | shelved | set(context.journal.counts())


def check_known(context: NodeContext, domain: str) -> None:
    """Raise UsageError if nothing here is about ``domain``."""
    if any(generation.domain == domain for generation in context.serving()):
        return  # the usual case, without a look at the journal
    names = known(context)
    if domain in names:
        return
    near = get_close_matches(domain, names, n=1, cutoff=0.6)
    if near:
        todo = f"Did you mean {near[0]!r}?"
    elif names:
        shown = ", ".join(sorted(names)[:_NAMED])
        todo = f"There is: {shown}; or leave the domain out, and the router decides."
    else:
        todo = "Leave the domain out; there are no corrections and no patches yet."
    raise UsageError(f"nothing here is about {domain!r}", remedy=todo)

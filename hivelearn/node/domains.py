"""Which domains this node has heard of: a mistyped name is told, not obeyed in silence."""

from collections.abc import Collection
from typing import Final

from hivelearn.bounds import nearest
from hivelearn.errors import UsageError
from hivelearn.node.context import NodeContext
from hivelearn.store.correction import check_domain

_NAMED: Final = 8  # of all there are, in a message


def known(context: NodeContext) -> set[str]:
    """Return the domains that were joined, or have corrections, a generation or any patch."""
    served = {generation.domain for generation in context.serving()}
    shelved = {entry.domain for entry in context.shelf.list(base=context.base)}
    return served | shelved | context.joined | set(context.journal.counts())


def meant(context: NodeContext, domain: str) -> str | None:
    """Return the known domain that an unknown one looks like, if it does."""
    names = known(context)
    return None if domain in names else nearest(domain, names)


def check_known(context: NodeContext, domain: str) -> None:
    """Raise UsageError if nothing here is about ``domain``."""
    if any(generation.domain == domain for generation in context.serving()):
        return  # the usual case, without a look at the journal
    otherwise = "or leave the domain out, and the router decides"
    _check(domain, known(context), "nothing here is about", otherwise)


def check_not_mistyped(context: NodeContext, domain: str) -> None:
    """Raise UsageError if ``domain`` is no name, or unknown and like one that is known.

    For what may well be done before anything is known of a domain.
    """
    check_domain(domain)
    near = meant(context, domain)
    if near is not None:
        raise UsageError(f"nothing here is about {domain!r}", remedy=f"Did you mean {near!r}?")


def check_corrected(context: NodeContext, domain: str | None) -> None:
    """Raise UsageError if a domain is named, and there are no corrections of it."""
    if domain is not None:
        check_domain(domain)
        otherwise = "`hivelearn corrections list` shows them"
        _check(domain, context.journal.counts(), "there are no corrections of", otherwise)


def _check(domain: str, names: Collection[str], missing: str, otherwise: str) -> None:
    if domain in names:
        return
    near = nearest(domain, names)
    if near is not None:
        todo = f"Did you mean {near!r}?"
    elif names:
        todo = f"There is: {', '.join(sorted(names)[:_NAMED])}; {otherwise}."
    else:
        todo = "There are no corrections yet: ask, then correct."
    raise UsageError(f"{missing} {domain!r}", remedy=todo)

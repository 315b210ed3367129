"""What this node's owner and its own experience say of others, kept in the home.

The store holds plain columns; here they become the trust room's records, and back.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure
from hivelearn.identity import short_name
from hivelearn.node.context import NodeContext
from hivelearn.node.events import TrustChanged
from hivelearn.store.reputation import StandingRecord
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Judgement, Standing, Vouch, judge
from hivelearn.trust.weights import Weights, authors_weights, known

STRANGERS_MAX: Final = 256  # authors on record for whom nobody speaks, not even their work


def standings(context: NodeContext) -> dict[bytes, Standing]:
    """Return own experience with every author on record."""
    return {
        row.author: Standing(row.author, Beta(row.good, row.bad), row.successes, row.harms)
        for row in context.store.reputation.standings()
    }


def vouches(context: NodeContext) -> list[Vouch]:
    """Return the owner's vouches that stand."""
    me = context.identity.author
    return [Vouch(me, v.author, v.note, int(v.at_s)) for v in context.store.reputation.vouches()]


def vouch(context: NodeContext, author: bytes, note: str) -> None:
    """Write down that the owner knows this author.

    Raises:
        UsageError: it is the node's own key, or the note is too long.
    """
    if author == context.identity.author:
        raise UsageError(
            "this is the node's own key", remedy="Give the full key of the other node's owner."
        )
    Vouch(context.identity.author, author, note)  # its limits hold here too
    with context.store.writing("vouch"):
        context.store.reputation.vouch(author, note, context.clock())
    context.events.publish(TrustChanged(author, vouched=True))


def withdraw(context: NodeContext, author: bytes) -> frozenset[bytes]:
    """Take a vouch back; return whom this node trusts no more. The caller holds the writer lock.

    Raises:
        UsageError: no vouch for this author stands.
    """
    before = trusted(context)
    if not context.store.reputation.withdraw(author, context.clock()):
        raise UsageError(
            f"no vouch for {short_name(author)} stands",
            remedy="`hivelearn trust` lists for whom one does.",
        )
    return before - trusted(context)


def trusted(context: NodeContext) -> frozenset[bytes]:
    """Return the authors whose patches may serve: vouched for, or proven here.

    Ask once for many: it reads and ranks everybody on record.
    """
    return _trusted(context, standings(context))


def _trusted(context: NodeContext, found: Mapping[bytes, Standing]) -> frozenset[bytes]:
    said, me = vouches(context), context.identity.author
    heard_of = {me, *found, *(each.author for each in said)}  # nobody else can be known
    kinds = known(heard_of, found, said, roots={me})
    return frozenset(author for author, kind in kinds.items() if kind != "unknown")


def weights(context: NodeContext, gains: Mapping[bytes, float]) -> Weights:
    """Return each author's share of a merge, by measured gain (lower bounds, nats)."""
    roots = {context.identity.author}
    return authors_weights(
        gains, standings(context), vouches(context), roots=roots, caps=context.config.caps
    )


def judgement(gain: Measure) -> Judgement | None:
    """Return what a measured gain says of the patch's author; nothing if unmeasured."""
    return judge(gain.low, gain.high) if isinstance(gain, Gain) else None


def hear(context: NodeContext, said: Mapping[bytes, tuple[bytes, Judgement]]) -> None:
    """Let what a merge says of patches pass over their authors, once a patch.

    What rests in the sandbox is measured again and again; one good patch must
    not prove its author five times over. Only a harm is heard after another verdict.

    Args:
        context: the node; the caller holds the writer lock.
        said: patch id to its author and the judgement.
    """
    heard = context.store.reputation.heard()
    news: dict[bytes, Judgement] = {}
    judged: dict[bytes, list[Judgement]] = {}
    for patch, (author, judgement) in sorted(said.items()):
        if patch not in heard or (judgement == "harm" != heard[patch]):
            news[patch] = judgement
            judged.setdefault(author, []).append(judgement)
    if judged:
        context.store.reputation.hear(news)
        _pass_round(context, judged)


def _pass_round(context: NodeContext, judged: Mapping[bytes, Sequence[Judgement]]) -> None:
    before = standings(context)
    # A round with strangers alone ages nobody else: they can bring about as many as they like.
    ages = bool(judged.keys() & _trusted(context, before))
    remember(
        context,
        [
            before.get(author, Standing(author)).after_round(judged.get(author, ()))
            for author in (before.keys() | judged.keys() if ages else judged.keys())
        ],
    )


def count_fault(context: NodeContext, author: bytes, domain: str, judgement: Judgement) -> None:
    """Count what an author signed and nobody can use. No round has passed: it ages nobody.

    The domain's next merge knows of it, too (:func:`at_fault`). The caller holds the writer lock.
    """
    standing = standings(context).get(author, Standing(author))
    remember(context, [standing.counted([judgement])])
    context.store.reputation.add_fault(author, domain)
    trust = trusted(context)
    strangers = [each for each in context.store.reputation.faults() if each[0] not in trust]
    context.store.reputation.drop_faults(strangers[:-STRANGERS_MAX])


def at_fault(context: NodeContext, domain: str) -> frozenset[bytes]:
    """Return whose records for ``domain`` were refused at the door since its last merge."""
    faults = context.store.reputation.faults()
    return frozenset(author for author, about in faults if about == domain)


def forgive(context: NodeContext, domain: str) -> None:
    """Let the faults at the door rest: a merge has heard them. The caller holds the writer lock."""
    faults = context.store.reputation.faults()
    context.store.reputation.drop_faults(each for each in faults if each[1] == domain)


def remember(context: NodeContext, changed: Iterable[Standing]) -> None:
    """Write these standings down; of authors for whom nobody speaks, only so many stay on record.

    Of those the ones go first whose record says least: a stranger with nothing
    but failures loses no more than a new key would cost, one with successes does.
    The caller holds the writer lock.
    """
    kept = context.store.reputation
    kept.set_standings(
        StandingRecord(
            each.author, each.evidence.good, each.evidence.bad, each.successes, each.harms
        )
        for each in changed
    )
    found = standings(context)
    spared = _trusted(context, found) | {vouch.author for vouch in vouches(context)}
    strangers = sorted(
        (standing for author, standing in found.items() if author not in spared),
        key=lambda s: (s.successes, s.harms, s.evidence.good + s.evidence.bad, s.author),
        reverse=True,
    )
    kept.drop_standings(standing.author for standing in strangers[STRANGERS_MAX:])

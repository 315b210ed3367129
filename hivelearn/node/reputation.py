"""What this node's owner and its own experience say of others, kept in the home.

The store holds plain columns; here they become the trust room's records, and back.
What speaks for an author are updates that are here and helped in their domain, so
it holds in that domain; what speaks against one holds everywhere.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure
from hivelearn.identity import full_name, short_name
from hivelearn.node.context import NodeContext
from hivelearn.node.events import TrustChanged
from hivelearn.patch.verdict import Verdict
from hivelearn.store.reputation import BlameRecord, EvidenceRecord
from hivelearn.trust.beta import DECAY, Beta
from hivelearn.trust.standing import Judgement, Standing, Vouch, judge
from hivelearn.trust.weights import Known, Weights, authors_weights, known

MADE_WAY: Final = Verdict(
    accepted=False,
    layer="rule",
    code="trust.made-way",
    why="it made way for a patch that had not been heard; a vouch lets it come again",
)
STRANGERS_MAX: Final = 256  # authors whom something speaks against and nobody speaks for


def standings(context: NodeContext, domain: str) -> dict[bytes, Standing]:
    """Return own experience in ``domain`` with every author on record."""
    kept = context.store.reputation
    return _standings(kept.blame(), [row for row in kept.evidence() if row.domain == domain])


def _standings(
    blame: Iterable[BlameRecord], evidence: Iterable[EvidenceRecord]
) -> dict[bytes, Standing]:
    against = {row.author: row for row in blame}
    worth: dict[bytes, list[float]] = {}
    for success in evidence:
        if success.judgement == "success" and success.compared:
            worth.setdefault(success.author, []).append(success.worth)
    found = {}
    for author in sorted(against.keys() | worth.keys()):
        row, earned = against.get(author, BlameRecord(author, 0.0, 0)), worth.get(author, [])
        found[author] = Standing(author, Beta(sum(earned), row.bad), len(earned), row.harms)
    return found


def vouches(context: NodeContext) -> list[Vouch]:
    """Return the owner's vouches that stand."""
    me = context.identity.author
    return [Vouch(me, v.author, v.note, int(v.at_s)) for v in context.store.reputation.vouches()]


def vouch(context: NodeContext, author: bytes, note: str, met: Collection[bytes] = ()) -> None:
    """Write down that the owner knows this author.

    Args:
        context: the node.
        author: whom.
        note: for eyes only.
        met: device keys of peers, which people may take for their owners' keys.

    Raises:
        UsageError: it is the node's own key, the key of a device, or the note is too long.
    """
    me = context.identity
    if author == me.author:
        raise UsageError(
            "this is the node's own key", remedy="Give the full key of the other node's owner."
        )
    _refuse_device(context, author, met)
    Vouch(me.author, author, note)  # its limits hold here too
    with context.store.writing("vouch"), context.store.together():
        context.store.reputation.vouch(author, note, context.clock())
        context.shelf.readmit(author, MADE_WAY.why)
        if context.shelf.list(author=author):
            _doubt(context, author)
    context.events.publish(TrustChanged(author, vouched=True))


def _refuse_device(context: NodeContext, key: bytes, met: Collection[bytes]) -> None:
    """Raise UsageError if ``key`` is a device's: it signs for its owner, who has another."""
    me = context.identity
    owners = context.shelf.devices() | {me.device: me.author}
    if key in owners.values() or not (key in owners or key in met):
        return
    remedy = "Ask its owner for the key that `hivelearn status` prints there."
    if key in owners:
        remedy = f"Its owner's key is {full_name(owners[key])}."
    raise UsageError(f"{full_name(key)} is the key of a device, not of a person", remedy=remedy)


def _doubt(context: NodeContext, known_now: bytes) -> None:
    """Let successes wait for a comparison whose order the owner's word has changed."""
    others = vouched(context) - {known_now}
    rows = context.store.reputation.evidence()
    context.store.reputation.doubt(row.patch for row in rows if row.author not in others)


def withdraw(
    context: NodeContext, author: bytes, domains: Iterable[str]
) -> dict[str, frozenset[bytes]]:
    """Take a vouch back; return whom this node trusts no more in each of ``domains``.

    The caller holds the writer lock.

    Raises:
        UsageError: no vouch for this author stands.
    """
    before = {domain: trusted(context, domain) for domain in sorted(set(domains))}
    if not context.store.reputation.withdraw(author, context.clock()):
        raise UsageError(
            f"no vouch for {short_name(author)} stands",
            remedy="`hivelearn trust` lists for whom one does.",
        )
    return {domain: old - trusted(context, domain) for domain, old in before.items()}


def vouched(context: NodeContext) -> frozenset[bytes]:
    """Return the authors for whom a person speaks, the owner among them."""
    kinds = _kinds(context, _standings(context.store.reputation.blame(), ()))
    return frozenset(author for author, kind in kinds.items() if kind == "vouched")


def trusted(context: NodeContext, domain: str) -> frozenset[bytes]:
    """Return the authors whose patches about ``domain`` may serve: vouched for, or proven in it.

    Ask once for many: it reads and ranks everybody on record.
    """
    kinds = _kinds(context, standings(context, domain))
    return frozenset(author for author, kind in kinds.items() if kind != "unknown")


def trusted_somewhere(context: NodeContext) -> frozenset[bytes]:
    """Return the authors who are vouched for, or proven in any domain."""
    kept, said = context.store.reputation, vouches(context)
    blame, by_domain = kept.blame(), dict[str, list[EvidenceRecord]]()
    for row in kept.evidence():
        by_domain.setdefault(row.domain, []).append(row)
    views = [_standings(blame, rows) for rows in ((), *by_domain.values())]
    kinds = [_kinds(context, view, said) for view in views]
    return frozenset(
        author for found in kinds for author, kind in found.items() if kind != "unknown"
    )


def _kinds(
    context: NodeContext, found: Mapping[bytes, Standing], said: Sequence[Vouch] | None = None
) -> dict[bytes, Known]:
    said, me = vouches(context) if said is None else said, context.identity.author
    heard_of = {me, *found, *(each.author for each in said)}  # nobody else can be known
    return known(heard_of, found, said, roots={me})


def weights(context: NodeContext, domain: str, gains: Mapping[bytes, float]) -> Weights:
    """Return each author's share of a merge in ``domain``, by measured gain (nats)."""
    roots = {context.identity.author}
    return authors_weights(
        gains, standings(context, domain), vouches(context), roots=roots, caps=context.config.caps
    )


def judgement(gain: Measure) -> Judgement | None:
    """Return what a measured gain says of the patch's author; nothing if unmeasured."""
    return judge(gain.low, gain.high) if isinstance(gain, Gain) else None


def hear(context: NodeContext, domain: str, said: Mapping[bytes, tuple[bytes, Judgement]]) -> None:
    """Let what a merge says of patches pass over their authors, once a patch.

    What rests in the sandbox is measured again and again; one good patch must
    not prove its author five times over. Only a harm is heard after another verdict.
    A success counts once it is known to be no copy: :func:`hivelearn.node.copies.compare`.

    Args:
        context: the node; the caller holds the writer lock.
        domain: of the patches.
        said: patch id to its author and the judgement.
    """
    kept = context.store.reputation
    heard = kept.heard()
    news: dict[bytes, Judgement] = {}
    judged: dict[bytes, list[Judgement]] = {}
    for patch, (author, judgement) in sorted(said.items()):
        if patch not in heard or (judgement == "harm" != heard[patch]):
            again = any((heard | news).get(twin) == judgement for twin in _twins(context, patch))
            news[patch] = judgement
            if not again:
                judged.setdefault(author, []).append(judgement)
    if judged:
        _pass_round(context, domain, judged)
        kept.hear(news)


def _twins(context: NodeContext, patch: bytes) -> list[bytes]:
    """Return the author's other records of one payload: published in two swarms, or again."""
    entry = context.shelf.get(patch)
    if entry is None:
        return []
    theirs = context.shelf.list(author=entry.author)
    return [e.id for e in theirs if e.payload == entry.payload and e.id != patch]


def _pass_round(
    context: NodeContext, domain: str, judged: Mapping[bytes, Sequence[Judgement]]
) -> None:
    kept = context.store.reputation
    before, rows = standings(context, domain), kept.evidence()
    # A round with strangers alone ages nobody else: they can bring about as many as they like.
    ages = bool(judged.keys() & trusted(context, domain))
    older = before.keys() | judged.keys() | {row.author for row in rows} if ages else judged.keys()
    kept.fade(DECAY, [row.patch for row in rows if row.author in older])
    _void(context, {author for author, said in judged.items() if "harm" in said})
    remember(
        context,
        [
            before.get(author, Standing(author)).after_round(judged.get(author, ()))
            for author in older
        ],
    )


def _void(context: NodeContext, authors: Collection[bytes]) -> None:
    """Let what these authors had earned count no more, in whatever domain."""
    rows = context.store.reputation.evidence()
    context.store.reputation.amend(
        {
            r.patch: "void"
            for r in rows
            if r.author in authors and r.judgement in ("success", "copy")
        }
    )


def count_fault(context: NodeContext, author: bytes, domain: str, judgement: Judgement) -> None:
    """Count what an author signed and nobody can use. No round has passed: it ages nobody.

    The domain's next merge knows of it, too (:func:`at_fault`). The caller holds the writer lock.
    """
    standing = standings(context, domain).get(author, Standing(author))
    if judgement == "harm":
        _void(context, {author})
    remember(context, [standing.counted([judgement])])
    context.store.reputation.add_fault(author, domain)
    trust = trusted_somewhere(context)
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
    """Write down what speaks against these authors; of those for whom nobody speaks, only so many.

    Of those the ones go first against whom least is on record: they lose no more than
    a new key would cost. The caller holds the writer lock.
    """
    kept = context.store.reputation
    kept.set_blame(
        BlameRecord(each.author, each.evidence.bad, each.harms)
        for each in changed
        if each.evidence.bad or each.harms
    )
    spared = trusted_somewhere(context) | {vouch.author for vouch in vouches(context)}
    strangers = sorted(
        (row for row in kept.blame() if row.author not in spared),
        key=lambda row: (row.harms, row.bad, row.author),
        reverse=True,
    )
    kept.drop_blame(row.author for row in strangers[STRANGERS_MAX:])

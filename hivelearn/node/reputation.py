"""What this node's owner and its own experience say of others, kept in the home."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure
from hivelearn.node.context import NodeContext
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Judgement, Standing, Vouch, judge
from hivelearn.trust.weights import Weights, authors_weights, known

STRANGERS_MAX: Final = 256  # authors on record for whom nobody speaks, not even their work
_STANDINGS: Final = "standings"
_HEARD: Final = "heard"  # patch id, hex -> its judgement that counted
_FAULTS: Final = "faults at the door"  # [author, domain], oldest first


def standings(context: NodeContext) -> dict[bytes, Standing]:
    """Return own experience with every author on record."""
    kept = context.store.notes.setting(_STANDINGS, {})
    return {
        bytes.fromhex(key): Standing(
            bytes.fromhex(key), Beta(**row["evidence"]), row["successes"], row["harms"]
        )
        for key, row in kept.items()
    }


def vouches(context: NodeContext) -> list[Vouch]:
    """Return the owner's vouches that stand."""
    me = context.identity.author
    return [Vouch(me, v.author, v.note, int(v.at_s)) for v in context.store.notes.vouches()]


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
        context.store.notes.vouch(author, note, context.environment.clock())


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


def after_merge(context: NodeContext, said: Mapping[bytes, tuple[bytes, Judgement]]) -> None:
    """Let what a merge says of patches pass over their authors, once a patch.

    What rests in the sandbox is measured again and again; one good patch must
    not prove its author five times over. Only a harm is heard after another verdict.

    Args:
        context: the node; the caller holds the writer lock.
        said: patch id to its author and the judgement.
    """
    heard: dict[str, str] = context.store.notes.setting(_HEARD, {})
    judged: dict[bytes, list[Judgement]] = {}
    for patch, (author, judgement) in sorted(said.items()):
        if patch.hex() not in heard or (judgement == "harm" != heard[patch.hex()]):
            heard[patch.hex()] = judgement
            judged.setdefault(author, []).append(judgement)
    if judged:
        here = {patch.hex() for patch in context.store.shelf.ids()}  # what is gone is not judged
        context.store.notes.set(_HEARD, {p: said for p, said in heard.items() if p in here})
        _after_round(context, judged)


def _after_round(context: NodeContext, judged: Mapping[bytes, Sequence[Judgement]]) -> None:
    before = standings(context)
    # A round with strangers alone ages nobody else: they can bring about as many as they like.
    ages = bool(judged.keys() & _trusted(context, before))
    _keep(
        context,
        {
            author: before.get(author, Standing(author)).after_round(judged.get(author, ()))
            if ages or author in judged
            else before[author]
            for author in before.keys() | judged.keys()
        },
    )


def at_the_door(context: NodeContext, author: bytes, domain: str, judgement: Judgement) -> None:
    """Count what an author signed and nobody can use. No round has passed: it ages nobody.

    The domain's next merge knows of it, too (:func:`at_fault`). The caller holds the writer lock.
    """
    found = standings(context)
    _keep(context, found | {author: found.get(author, Standing(author)).counted([judgement])})
    row = [author.hex(), domain]
    rows = [*(each for each in context.store.notes.setting(_FAULTS, []) if each != row), row]
    trust = trusted(context)
    strangers = [each for each in rows if bytes.fromhex(each[0]) not in trust]
    gone = strangers[:-STRANGERS_MAX]
    context.store.notes.set(_FAULTS, [each for each in rows if each not in gone])


def at_fault(context: NodeContext, domain: str) -> frozenset[bytes]:
    """Return whose records for ``domain`` were refused at the door since its last merge."""
    rows = context.store.notes.setting(_FAULTS, [])
    return frozenset(bytes.fromhex(author) for author, about in rows if about == domain)


def forgive(context: NodeContext, domain: str) -> None:
    """Let the faults at the door rest: a merge has heard them. The caller holds the writer lock."""
    rows = context.store.notes.setting(_FAULTS, [])
    if kept := [each for each in rows if each[1] != domain]:
        context.store.notes.set(_FAULTS, kept)
    elif rows:
        context.store.notes.unset(_FAULTS)


def _keep(context: NodeContext, found: Mapping[bytes, Standing]) -> None:
    """Write the standings of all whom the owner or their work speaks for, and of some others.

    Of the others those go first whose record says least: a stranger with nothing
    but failures loses no more than a new key would cost, one with successes does.
    """
    spared = _trusted(context, found) | {vouch.author for vouch in vouches(context)}
    strangers = sorted(
        (standing for author, standing in found.items() if author not in spared),
        key=lambda s: (s.successes, s.harms, s.evidence.good + s.evidence.bad, s.author),
        reverse=True,
    )
    gone = {standing.author for standing in strangers[STRANGERS_MAX:]}
    plain = {
        author.hex(): {
            "evidence": asdict(standing.evidence),
            "successes": standing.successes,
            "harms": standing.harms,
        }
        for author, standing in sorted(found.items())
        if author not in gone
    }
    context.store.notes.set(_STANDINGS, plain)

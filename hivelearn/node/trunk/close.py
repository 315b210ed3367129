"""A round ends: the parts that came are judged, and those that may count make the next trunk."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from hivelearn.gate import rules
from hivelearn.gate.gain import Gain, Measure
from hivelearn.gate.norms import nonfinite
from hivelearn.inference.engine import AdapterMismatchError
from hivelearn.node import reputation
from hivelearn.node.trunk import make
from hivelearn.node.trunk.state import Record, Rounds
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.descent import ONE, Descent, trunk_id
from hivelearn.store.trunks import Trunk
from hivelearn.trunk import cohort
from hivelearn.trunk.cohort import Part
from hivelearn.trunk.fork import TAU
from hivelearn.trunk.step import Step, change_norm
from hivelearn.trust.weights import Known

STANDINGS: Final[tuple[Known, ...]] = get_args(Known)  # the most trusted first


@dataclass(frozen=True, slots=True)
class Offer:
    """A part that came, and what is known of it."""

    record: Record
    adapter: Adapter
    onto: Adapter | None
    part: Part


@dataclass(frozen=True, slots=True)
class Closed:
    """A round that has ended."""

    trunk: Trunk
    adapter: Adapter
    descent: Descent
    authors: tuple[bytes, ...]  # whose parts made it
    gain: Measure  # against the trunk before, on the own corrections


def offers(rounds: Rounds, records: Sequence[Record]) -> list[Offer]:
    """Return the parts that can be used: onto a trunk that is kept here, sound, not used yet."""
    vouched = reputation.vouched(rounds.context) | {rounds.context.identity.author}
    out = rounds.trunks.left_out(rounds.base, rounds.domain) | rounds.used()
    found = []
    for record in records:
        known = None if record.descent.is_trunk else rounds.known(record.descent.onto)
        if known is None or record.root in out:
            continue
        height, onto = known
        adapter = rounds.read(record)
        if adapter is None or height > rounds.height or not _sound(rounds, adapter):
            continue
        author = record.body.author
        standing: Known = (
            "vouched" if author in vouched else "proven" if author in rounds.trusted else "unknown"
        )
        late = rounds.height - height if record.descent.onto != rounds.id else 0
        part = Part(record.root, author, standing, late, change_norm(adapter, onto))
        found.append(Offer(record, adapter, onto, part))
    # One payload that two have signed counts once, for whom one trusts more.
    found.sort(key=lambda offer: STANDINGS.index(offer.part.known), reverse=True)
    by_root = {offer.part.root: offer for offer in found}
    fresh = cohort.newest([offer.part for offer in by_root.values()])
    return [by_root[part.root] for part in fresh]


def _sound(rounds: Rounds, adapter: Adapter) -> bool:
    try:
        rounds.context.engine.check(adapter)
    except AdapterMismatchError:
        return False
    return not nonfinite(adapter)


def judged(rounds: Rounds, found: Sequence[Offer]) -> list[Offer]:
    """Return the parts that are no outliers; note those that are.

    A part by itself is often worse than its trunk, having learnt one notebook, and the sum of
    all is better: so what counts is the trunk with it against the trunk in which it moves
    nothing. Of four and more, it must also stand out among them; of fewer, the trunk must be
    surely worse by what is a harm.
    """
    me, kept = rounds.context.identity.author, list(found)
    means = {offer.part.root: rounds.loss(offer.adapter) for offer in found}
    limit = rules.outlier_limit(list(means.values()))
    if limit is None and not rounds.held_out:
        return kept  # on what one has learnt from, each other part makes it worse
    for offer in sorted(found, key=lambda offer: (-means[offer.part.root], offer.part.root)):
        if offer.part.author == me or (limit is not None and means[offer.part.root] <= limit):
            continue
        without = _made(rounds, kept, but=offer.part.root)[1].adapter
        gain = rounds.gain(without, _made(rounds, kept)[1].adapter)
        worse = isinstance(gain, Gain) and (gain.high < -TAU if limit is None else gain.mean < 0)
        if worse:
            why = f"the trunk is worse with it: {gain}"
            rounds.trunks.leave_out(rounds.base, rounds.domain, offer.part.root, why)
            kept.remove(offer)
    return kept


def closed(rounds: Rounds, found: Sequence[Offer]) -> Closed | None:
    """Return the next trunk, made of parts that passed, or None if none of them helps.

    A trunk that is surely worse than the one before is not taken: the part that is worst by
    itself is left out, and it is tried again without it.
    """
    me = rounds.context.identity.author
    rest = list(found)
    while any(offer.part.author != me for offer in rest):
        descent, made = _made(rounds, rest)
        gain = rounds.gain(rounds.adapter, made.adapter)
        if not (isinstance(gain, Gain) and gain.high < -TAU):
            trunk = as_trunk(rounds, descent, made.adapter, made.lost)
            used = {root for root, _ in descent.parts}
            authors = {offer.part.author for offer in rest if offer.part.root in used}
            return Closed(trunk, made.adapter, descent, tuple(sorted(authors)), gain)
        others = [offer for offer in rest if offer.part.author != me]
        worst = max(others, key=lambda offer: (rounds.loss(offer.adapter), offer.part.root))
        why = f"a round with it was worse: {gain}"
        rounds.trunks.leave_out(rounds.base, rounds.domain, worst.part.root, why)
        rest.remove(worst)
    return None


def _made(rounds: Rounds, found: Sequence[Offer], but: bytes | None = None) -> tuple[Descent, Step]:
    """Return the trunk that these parts make, and how it is told.

    Args:
        rounds: of the domain.
        found: the parts.
        but: root of one that moves nothing, and gives nobody what it would have moved.
    """
    parts = {offer.part.root: (offer.adapter, offer.onto) for offer in found}
    factors = cohort.factors([offer.part for offer in found], rounds.context.config.caps)
    descent = _descent(rounds, {root: f for root, f in factors.items() if root != but})
    step = make.made(rounds, descent, parts, _rank(rounds, found))
    assert step is not None, "all that it is made of was looked at"
    return descent, step


def _descent(rounds: Rounds, factors: Mapping[bytes, int]) -> Descent:
    trunk, momentum = rounds.trunk, 0
    if trunk is not None and rounds.known(trunk.onto) is not None:
        momentum = round(rounds.settings.momentum * ONE)
    before = 0 if trunk is None else trunk.parts
    return Descent(rounds.id, rounds.height, before, tuple(sorted(factors.items())), momentum)


def _rank(rounds: Rounds, found: Sequence[Offer]) -> int:
    if rounds.adapter is not None:
        return rounds.settings.rank or rounds.adapter.rank
    return rounds.settings.rank or max(offer.adapter.rank for offer in found)


def as_trunk(rounds: Rounds, descent: Descent, adapter: Adapter, lost: float) -> Trunk:
    """Return the row of a trunk."""
    return Trunk(
        base=rounds.base,
        domain=rounds.domain,
        id=trunk_id(rounds.base, rounds.domain, adapter.rank, descent),
        onto=descent.onto,
        height=descent.height + 1,
        parts=descent.parts_in_all,
        payload=adapter.root().hex(),
        made_of=json.dumps({root.hex(): factor for root, factor in descent.parts}),
        loss=rounds.loss(adapter) if rounds.rows else None,
        said=rounds.said(),
        lost=lost,
        created_s=rounds.context.clock(),
    )

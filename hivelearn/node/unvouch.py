"""What a person decides after regretting a vouch: what trust no longer covers stops serving.

At once and where everybody can see it: each domain that an expert leaves gets a
generation without it, which `rollback` takes back like any other. The expert goes
back to quarantine and is judged at the next merge like all that arrives. What was
merged into an own specialist stays: the own evidence judged it as a whole, and no
part can be taken out of a sum (docs/adr/0009-withdrawn-vouches.md).
"""

import json
from collections.abc import Set as AbstractSet
from dataclasses import replace

from hivelearn.identity import short_name
from hivelearn.node import reputation
from hivelearn.node.context import NodeContext
from hivelearn.node.events import Adopted, TrustChanged
from hivelearn.store.candidates import Candidate
from hivelearn.store.generations import NEXT, Generation


def unvouch(context: NodeContext, author: bytes) -> tuple[Generation, ...]:
    """Withdraw the vouch for ``author``; return the generations that serve less than before.

    None, if the author's work speaks for them in its domains, or if nothing of theirs serves.

    Raises:
        UsageError: no vouch for this author stands.
    """
    store = context.store
    with store.writing("unvouch"), store.together():
        candidates = store.candidates.list()
        serving = [g for base in store.generations.bases() for g in store.generations.serving(base)]
        domains = {each.domain for each in candidates} | {each.domain for each in serving}
        lost = reputation.withdraw(context, author, domains)
        for candidate in candidates:
            if _authors(context, candidate) & lost[candidate.domain]:
                store.candidates.drop(candidate.number)
        why = f"no vouch for {short_name(author)} any more"
        changed = tuple(
            _serve_without(context, generation, lost[generation.domain], why)
            for generation in serving
            if any(expert.author in lost[generation.domain] for expert in generation.experts)
        )
    context.events.publish(TrustChanged(author, vouched=False))
    for generation in changed:
        context.events.publish(Adopted(generation))
    return changed


def _authors(context: NodeContext, candidate: Candidate) -> set[bytes]:
    """Return whose patches a candidate would take in."""
    moves = json.loads(candidate.detail)["moves"]
    entries = (context.shelf.get(bytes.fromhex(patch)) for patch in moves)
    return {entry.author for entry in entries if entry is not None}


def _serve_without(
    context: NodeContext, old: Generation, lost: AbstractSet[bytes], why: str
) -> Generation:
    new = replace(
        old,
        experts=tuple(expert for expert in old.experts if expert.author not in lost),
        number=NEXT,
        why=why,
        created_s=context.clock(),
        report="{}",
        undoes=None,
    )
    number = context.generations.commit(new)
    for expert in old.experts:
        entry = expert.patch and context.shelf.get(expert.patch)
        if entry and entry.author in lost and entry.state == "admitted":
            context.shelf.move(entry.id, "quarantined", reason=why)
    return replace(new, number=number)
